// Tabs by keyboard and by address: #files opens the tab `files`.

import { h, put } from "./dom.js";
import { tell } from "./notices.js";

/** `list` is [{id, label, show(element, context)}]. Returns {element, open(id), again()}. */
export function tabs(list, context) {
  let current = null;
  let place = null;
  const buttons = list.map(({ id, label }) => h("button", {
    type: "button", role: "tab", id: `tab-${id}`, "aria-controls": "panel", "aria-selected": "false", tabindex: "-1",
    onclick: () => choose(id), onkeydown: (event) => move(event, id),
  }, label));
  const panel = h("div", { role: "tabpanel", id: "panel", tabindex: "-1" });

  function move(event, id) {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const next = list[(list.findIndex((one) => one.id === id) + by + list.length) % list.length];
    choose(next.id);
    buttons[list.indexOf(next)].focus();
  }

  function choose(id) {
    history.replaceState(null, "", id === list[0].id ? location.pathname + location.search : `#${id}`);
    open(id);
  }

  /** Each tab has its own element, so a tab that is closed while loading shows nothing. */
  async function open(id) {
    const wanted = list.find((one) => one.id === id) ?? list[0];
    if (wanted !== current) put(panel, (place = h("div")));
    current = wanted;
    const mine = place;
    list.forEach((one, place) => {
      buttons[place].setAttribute("aria-selected", String(one === current));
      buttons[place].tabIndex = one === current ? 0 : -1;
    });
    panel.setAttribute("aria-labelledby", `tab-${current.id}`);
    try {
      await current.show(mine, context);
    } catch (problem) {
      if (!mine.isConnected) return;
      put(mine, h("p", { class: "muted" }, "This tab could not be loaded."));
      tell(problem);
    }
  }

  const element = h("div", { class: "stack" }, h("div", { class: "tabs", role: "tablist", "aria-label": "Job tabs" }, buttons), panel);
  return { element, open, again: () => current && open(current.id) };
}
