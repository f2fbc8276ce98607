// Makes the console quicker to use: counts time down, copies, shows times by the reader's clock. Everything works without it.
"use strict";

const lang = document.documentElement.lang;
document.documentElement.classList.add("scripted");

const units = lang === "ru" ? ["д", "ч", "мин", "с"] : ["d", "h", "min", "s"];

// As Language::lasting of the program: the two largest units.
function lasting(seconds) {
  const counts = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60, seconds % 60];
  let first = counts.findIndex((count) => count > 0);
  if (first < 0) first = counts.length - 1;
  const shown = counts.map((count, index) => [count, units[index]]).slice(first, first + 2);
  return shown.filter(([count]) => count > 0 || seconds === 0).map(([count, unit]) => `${count}\u00a0${unit}`).join(" ");
}

// <span class="left" data-left="SECONDS" data-over="text"> counts down from when the page came, whatever the clock on the wall says.
const came = performance.now();
function countDown() {
  const passed = Math.floor((performance.now() - came) / 1000);
  for (const element of document.querySelectorAll("[data-left]")) {
    const left = Number(element.dataset.left) - passed;
    const text = left > 0 ? lasting(left) : element.dataset.over || lasting(0);
    if (element.textContent !== text) element.textContent = text;
    element.classList.toggle("soon", left < 600);
  }
}

// <time datetime="…"> by the reader's own clock.
function localTimes(root) {
  const format = new Intl.DateTimeFormat(lang, { day: "2-digit", month: "2-digit", year: "numeric", hour: "2-digit", minute: "2-digit" });
  for (const element of root.querySelectorAll("time[datetime]")) {
    const at = new Date(element.getAttribute("datetime"));
    if (Number.isNaN(at.getTime())) continue;
    element.title = element.title || element.textContent;
    element.textContent = format.format(at);
  }
}

// <button data-copy="#id" data-copied="text"> copies what an element holds, and says so.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const source = document.querySelector(button.dataset.copy);
  const text = "value" in source ? source.value : source.textContent.trim();
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = button.dataset.copied;
  } catch {
    // Without leave to write the clipboard, the text is selected to be copied by hand.
    getSelection().selectAllChildren(source);
  }
});

// A form is sent once, however often its button is pressed.
document.addEventListener("submit", (event) => {
  if (event.target.dataset.sent) event.preventDefault();
  event.target.dataset.sent = "yes";
});
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});

// On a phone the links of the navigation are wider than the screen: the one that is shown is to be seen.
document.querySelector(".tabs [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });

localTimes(document);
countDown();
setInterval(countDown, 1000);
// What looks again by itself waits while nobody sees it.
document.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden) event.preventDefault();
});
document.addEventListener("htmx:afterSwap", (event) => localTimes(event.target));
