// Time profile of a job, if its spec has one. Pure: no page, no request.

import { h, prose, table } from "./dom.js";
import { number } from "./format.js";

const BETWEEN_STEPS = new Set(["evaluation", "checkpoint"]);

/** Return the content of the profile card: the sentence first, the phases on demand. */
export function profileWords(profile) {
  const step = { name: "whole step", mean_s: profile.step_mean_s, share: 1 };
  const between = profile.phases.filter((one) => BETWEEN_STEPS.has(one.name));
  const rows = [...profile.phases.filter((one) => !BETWEEN_STEPS.has(one.name)), step].map((one) => row(one, "of each step"));
  return [
    h("h2", {}, "Profile"),
    h("p", {}, prose(profile.sentence)),
    h("details", {},
      h("summary", {}, `Phases, averaged over ${number(profile.steps_measured)} steps`),
      table(["Phase", "Mean time", "Share", ""], [...rows, ...between.map((one) => row(one, "of the run"))], { caption: "Time per phase", numbers: [1, 2] })),
  ];
}

const row = ({ name, mean_s: seconds, share }, of) => [name, milliseconds(seconds), `${(100 * share).toFixed(1)} %`, of];

const milliseconds = (seconds) => (seconds < 1 ? `${number(1000 * seconds)} ms` : `${number(seconds)} s`);
