// Buttons that copy, and live figures. Without this script the page works, and shows the figures of the time at which it
// was loaded.
"use strict";

(() => {
  const announcements = document.createElement("p");
  announcements.className = "hidden";
  announcements.setAttribute("role", "status");
  document.body.append(announcements);

  // navigator.clipboard is there over https and for localhost only.
  const copy = async (element) => {
    if (navigator.clipboard) return navigator.clipboard.writeText(element.textContent);
    getSelection().selectAllChildren(element);
    if (!document.execCommand("copy")) throw new Error("the browser does not copy");
  };

  for (const element of document.querySelectorAll("[data-copy]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.setAttribute("aria-label", `Copy ${element.textContent}`);
    button.addEventListener("click", async () => {
      const said = await copy(element).then(
        () => "Copied",
        () => "Not copied",
      );
      button.textContent = announcements.textContent = said;
      setTimeout(() => ((button.textContent = "Copy"), (announcements.textContent = "")), 2000);
    });
    element.after(button);
  }

  // Makes `old` look like `wanted`. What stays keeps its element, and so its focus: by its id, or else by its place.
  const update = (old, wanted) => {
    for (const { name } of [...old.attributes]) if (!wanted.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of wanted.attributes)
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    const byId = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
    let at = old.firstChild;
    for (const child of [...wanted.childNodes]) {
      const fits = (node) => node && node.nodeName === child.nodeName && (node.id ?? "") === (child.id ?? "");
      const kept = child.id ? byId.get(child.id) : at;
      if (!fits(kept)) {
        old.insertBefore(child, at);
        continue;
      }
      if (kept === at) at = at.nextSibling;
      else old.insertBefore(kept, at);
      if (kept.nodeType === Node.ELEMENT_NODE) update(kept, child);
      else if (kept.data !== child.data) kept.data = child.data;
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  };

  const path = document.querySelector("[data-live]")?.dataset.live;
  if (!path) return;
  let source, timer;

  const close = () => {
    source?.close();
    clearTimeout(timer);
    source = timer = undefined;
    document.documentElement.classList.remove("is-live");
  };

  const open = () => {
    close();
    // A browser has few connections for all its tabs.
    if (document.hidden) return;
    source = new EventSource(path);
    source.onmessage = ({ data }) => {
      document.documentElement.classList.add("is-live");
      const template = document.createElement("template");
      template.innerHTML = data;
      for (const section of [...template.content.children]) {
        const old = document.getElementById(section.id);
        if (old) update(old, section);
      }
    };
    source.onerror = () => {
      document.documentElement.classList.remove("is-live");
      // The registry refused: the session ended, or too many browsers listen. Otherwise the browser tries again itself.
      if (source.readyState === EventSource.CLOSED) timer = setTimeout(open, 30_000 + Math.random() * 30_000);
    };
  };

  document.addEventListener("visibilitychange", open);
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => event.persisted && open());
  open();
})();
