// Tells on a page, in the last minutes of an access token, how long it lasts, and when it is over. It asks the gateway once and counts by
// itself; now and then, and when the page is looked at again, it asks anew. What it shows is out of the page's reach, and of its way.
(() => {
  "use strict";
  const mark = Symbol.for("zenzefi.time-left");
  if (window[mark] || window.top !== window) return;
  window[mark] = true;

  const ASKED_EVERY = 180000;
  const ASKED_AGAIN = 20000;
  const SPOKEN_AT = [10, 5, 2, 1];

  const TEXTS = {
    en: {
      left: "Your access ends in",
      spoken: (minutes) => `Your access ends in ${minutes} ${minutes === 1 ? "minute" : "minutes"}.`,
      over: "Your access has ended.",
      buy: "Buy more time",
      reload: "Reload",
      dismiss: "Dismiss",
    },
    ru: {
      left: "Доступ закончится через",
      spoken: (minutes) => `Доступ закончится через ${minutes} ${minutes === 1 ? "минуту" : minutes < 5 ? "минуты" : "минут"}.`,
      over: "Время доступа закончилось.",
      buy: "Купить ещё время",
      reload: "Обновить",
      dismiss: "Скрыть",
    },
  };

  const STYLE = `
    :host { all: initial; }
    .bar { position: fixed; z-index: 2147483647; inset: auto 0 0 0; display: flex; flex-wrap: wrap; gap: 4px 16px; align-items: center;
      justify-content: center; box-sizing: border-box; margin: 0; padding: 6px 16px; font: 14px/1.5 system-ui, -apple-system, "Segoe UI",
      Roboto, "Noto Sans", "DejaVu Sans", sans-serif; color: #5c3900; background: #fdf0d8; border-top: 1px solid #e5c88f;
      color-scheme: light dark; }
    .bar.over { color: #8f1717; background: #fbe6e6; border-color: #e9b3b3; }
    .clock { font-weight: 650; font-variant-numeric: tabular-nums; }
    a, button { font: inherit; font-weight: 600; color: inherit; background: none; border: 0; margin: 0; padding: 4px; cursor: pointer;
      text-decoration: underline; text-underline-offset: 2px; }
    :focus-visible { outline: 3px solid #0b57d0; outline-offset: 1px; border-radius: 3px; }
    .spoken { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
    @media (prefers-color-scheme: dark) {
      .bar { color: #f0c274; background: #33270f; border-color: #5b4820; }
      .bar.over { color: #ffb3ae; background: #3a1c1c; border-color: #6b3333; }
      :focus-visible { outline-color: #a8c7fa; }
    }
    @media print { .bar { display: none; } }
  `;

  let texts = TEXTS.en;
  let buyAt = null;
  let noticeFrom = 600;
  /** When the time is over, on the clock of performance.now(); unknown while no clock runs. */
  let endsAt = null;
  let hasBegun = false;
  let isDismissed = false;
  let asking = null;
  let ticking = null;
  let bar = null;

  const element = (name, className, text) => {
    const made = document.createElement(name);
    made.className = className;
    made.textContent = text || "";
    return made;
  };

  const build = () => {
    const host = document.createElement("zenzefi-time-left");
    const root = host.attachShadow({ mode: "closed" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
    const parts = {
      host,
      bar: element("div", "bar"),
      spoken: element("span", "spoken"),
      text: element("span", "text"),
      clock: element("span", "clock"),
      buy: element("a", "buy"),
      reload: element("button", "reload"),
      dismiss: element("button", "dismiss"),
    };
    host.lang = texts === TEXTS.ru ? "ru" : "en";
    // What is read out changes only now and then; the clock runs for the eye alone.
    parts.spoken.setAttribute("role", "status");
    parts.text.setAttribute("aria-hidden", "true");
    parts.clock.setAttribute("aria-hidden", "true");
    parts.buy.textContent = texts.buy;
    parts.reload.type = "button";
    parts.reload.textContent = texts.reload;
    parts.reload.addEventListener("click", () => window.location.reload());
    parts.dismiss.type = "button";
    parts.dismiss.textContent = texts.dismiss;
    parts.dismiss.addEventListener("click", () => {
      isDismissed = true;
      hide();
    });
    for (const name of ["spoken", "text", "clock", "buy", "reload", "dismiss"]) parts.bar.append(parts[name]);
    root.append(parts.bar);
    return parts;
  };

  const hide = () => {
    if (bar) bar.host.remove();
    bar = null;
  };

  const show = (state) => {
    bar = bar || build();
    // A page may replace all that it holds.
    if (!bar.host.isConnected) document.documentElement.append(bar.host);
    const isOver = state === "over";
    bar.host.dataset.state = state;
    bar.bar.classList.toggle("over", isOver);
    bar.clock.hidden = isOver;
    bar.reload.hidden = !isOver;
    bar.buy.hidden = buyAt === null;
    if (buyAt !== null) {
      bar.buy.href = `${buyAt}?to=${encodeURIComponent(window.location.pathname + window.location.search)}`;
    }
  };

  const say = (text) => {
    if (bar.spoken.textContent !== text) bar.spoken.textContent = text;
  };

  const tick = () => {
    clearTimeout(ticking);
    if (endsAt === null) return hide();
    const left = Math.ceil((endsAt - performance.now()) / 1000);
    if (left > noticeFrom) {
      hide();
      ticking = setTimeout(tick, Math.min((left - noticeFrom) * 1000, ASKED_EVERY));
      return;
    }
    if (left <= 0) {
      end();
      return;
    }
    ticking = setTimeout(tick, 1000);
    if (isDismissed) return;
    show("left");
    const minutes = Math.ceil(left / 60);
    bar.text.textContent = texts.left;
    bar.clock.textContent = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
    if (!bar.spoken.textContent || SPOKEN_AT.includes(minutes)) say(texts.spoken(minutes));
  };

  const end = () => {
    clearTimeout(ticking);
    clearTimeout(asking);
    endsAt = null;
    show("over");
    bar.text.textContent = texts.over;
    say(texts.over);
  };

  const ask = async () => {
    clearTimeout(asking);
    if (document.hidden) return;
    let next = ASKED_EVERY;
    try {
      const asked = performance.now();
      // In full, for a page may say that its links are relative to elsewhere.
      const address = `${window.location.origin}/_gateway/time-left`;
      const answer = await fetch(address, { credentials: "same-origin", cache: "no-store", redirect: "error" });
      if (answer.status === 401) {
        if (hasBegun) end();
        return;
      }
      if (!answer.ok) throw new Error(String(answer.status));
      const told = await answer.json();
      texts = TEXTS[told.language] || TEXTS.en;
      buyAt = told.buy_url;
      noticeFrom = told.notice_from_seconds;
      hasBegun = hasBegun || told.status === "active";
      // Whole seconds are told, rounded down: that it is over is never said too early.
      endsAt = told.status === "active" ? asked + (told.time_remaining_seconds + 1) * 1000 : null;
      tick();
    } catch {
      // It counts on meanwhile.
      next = ASKED_AGAIN;
    }
    asking = setTimeout(ask, next);
  };

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) ask();
  });
  ask();
})();
