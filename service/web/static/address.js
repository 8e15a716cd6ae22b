// Address of the service: under a prefix such as /moco if a proxy serves it there.

/** Return a path with the prefix; other addresses are unchanged. */
export function addressOf(path) {
  const root = document.body.dataset.root ?? "";
  return path.startsWith("/") && !path.startsWith(`${root}/`) ? root + path : path;
}
