// Where the service is: under a prefix such as /moco when a proxy serves it there.

/** A path of the service as the browser must ask for it. Other addresses stay as they are. */
export function addressOf(path) {
  const root = document.body.dataset.root ?? "";
  return path.startsWith("/") && !path.startsWith(`${root}/`) ? root + path : path;
}
