"use strict";
(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const themes = ["system", "light", "dark"];
  const stored = () => { try { return localStorage.getItem("nonverbal-theme"); } catch { return null; } };
  const keep = (theme) => { try { localStorage.setItem("nonverbal-theme", theme); } catch { /* pages opened from files may not store anything */ } };
  const apply = (theme) => {
    if (theme === "system") delete root.dataset.theme; else root.dataset.theme = theme;
    button.textContent = `Colours: ${theme}`;
    button.setAttribute("aria-label", `Colours: ${theme}; press to change`);
    button.dataset.now = theme;
  };
  button.hidden = false;
  apply(themes.includes(stored()) ? stored() : "system");
  button.addEventListener("click", () => {
    const next = themes[(themes.indexOf(button.dataset.now) + 1) % themes.length];
    apply(next);
    keep(next);
  });

  // Collapsed parts are printed too.
  const folded = () => [...document.querySelectorAll("details")];
  let closed = [];
  addEventListener("beforeprint", () => { closed = folded().filter((part) => !part.open); closed.forEach((part) => { part.open = true; }); });
  addEventListener("afterprint", () => closed.forEach((part) => { part.open = false; }));

  // A map has several colourings; radio buttons choose the one that is shown and printed.
  document.querySelectorAll(".switched").forEach((map) => {
    const choices = map.querySelector("fieldset");
    if (!choices) return;
    const points = [...map.querySelectorAll("[data-under]")].map((point) => [point, point.dataset.under.split(" ")]);
    const show = (chosen) => {
      points.forEach(([point, roles]) => point.setAttribute("class", `f-${roles[chosen]}`));
      map.querySelectorAll("[data-choice]").forEach((part) => {
        if (part.dataset.choice === chosen) part.removeAttribute("display"); else part.setAttribute("display", "none");
      });
    };
    choices.hidden = false;
    choices.addEventListener("change", (event) => show(event.target.value));
    show(choices.querySelector(":checked").value);
  });

  const holder = document.getElementById("sounds");
  if (!holder) return;
  const sounds = JSON.parse(holder.textContent);
  // Points of a map whose sound can be played: Tab moves to one of them, and the arrow keys to the others.
  document.querySelectorAll("svg").forEach((map) => {
    const points = [...map.querySelectorAll("[data-clip]")].filter((point) => point.dataset.clip in sounds);
    points.forEach((point, place) => {
      point.setAttribute("role", "button");
      point.setAttribute("aria-label", point.textContent);
      point.setAttribute("tabindex", place ? "-1" : "0");
      point.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        if (step) points[(place + step + points.length) % points.length].focus();
        if (event.key === "Enter" || event.key === " ") point.dispatchEvent(new MouseEvent("click", { bubbles: true }));
        if (step || event.key === " ") event.preventDefault();
      });
    });
  });
  const player = new Audio();
  let playing = null;
  const stop = () => {
    player.pause();
    if (playing) playing.setAttribute("aria-pressed", "false");
    playing = null;
  };
  player.addEventListener("ended", stop);
  document.addEventListener("click", (event) => {
    const pressed = event.target.closest("[data-clip]");
    if (!pressed || !(pressed.dataset.clip in sounds)) return;
    const again = pressed === playing;
    stop();
    if (again) return;
    playing = pressed;
    pressed.setAttribute("aria-pressed", "true");
    player.src = sounds[pressed.dataset.clip];
    player.play().catch(stop);
  });
})();
