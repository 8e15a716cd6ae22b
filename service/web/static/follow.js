// Live event stream of a job. A hidden page has no connection: browsers allow only six per service, and
// it should not cost training time.

import { addressOf } from "./address.js";
import { dismiss, notice, tell } from "./notices.js";
import { get } from "./api.js";

const TYPES = ["status", "started", "stepped", "evaluated", "profiled", "judged", "checkpointed", "logged", "published", "ended", "gap"];
const OVERLAP_MS = 10000;
const AGAIN_MS = 3000;

/**
 * Call `onEvent(event)` for events from about now on, and `onReturn()` when the page is visible again or a
 * broken stream is reconnected: missed events must be read from the history.
 */
export function follow(jobId, { onEvent, onReturn }) {
  let source = null;
  let after = `${Number(document.body.dataset.nowMs) - OVERLAP_MS}-0`;
  let broken = false;
  let timer = null;

  const close = () => {
    clearTimeout(timer);
    source?.close();
    source = null;
  };
  const open = () => {
    close();
    source = new EventSource(addressOf(`/v1/jobs/${jobId}/events?after=${after}`));
    source.onopen = () => {
      dismiss("stream");
      if (broken) onReturn();
      broken = false;
    };
    source.onerror = () => {
      broken = true;
      notice("stream", "warn", "Live updates lost.", "Reconnecting; the job is not affected.");
      if (source?.readyState === EventSource.CLOSED) timer = setTimeout(retry, AGAIN_MS);
    };
    for (const type of TYPES) {
      source.addEventListener(type, (message) => {
        if (message.lastEventId) after = message.lastEventId;
        onEvent(JSON.parse(message.data));
      });
    }
  };
  // A refused stream has no reason, so request the job itself.
  const retry = async () => {
    try {
      await get(`/v1/jobs/${jobId}`);
      open();
    } catch (problem) {
      tell(problem, "stream");
      if (problem.status !== 401 && problem.status !== 404) timer = setTimeout(retry, AGAIN_MS);
    }
  };
  const onSeen = () => {
    if (document.hidden) close();
    else if (!source) {
      onReturn();
      open();
    }
  };
  document.addEventListener("visibilitychange", onSeen);
  if (!document.hidden) open();
  return {
    stop() {
      close();
      dismiss("stream");
      document.removeEventListener("visibilitychange", onSeen);
    },
  };
}
