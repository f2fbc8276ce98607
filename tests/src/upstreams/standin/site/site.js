"use strict";

const show = (id, text, state) => {
  const line = document.getElementById(id);
  line.textContent = text;
  line.className = state;
};

const styled = getComputedStyle(document.documentElement).getPropertyValue("--styled").trim() === "yes";
show("styles", styled ? "Styles: ok" : "Styles: missing", styled ? "ok" : "failed");

addEventListener("load", () => {
  const drawn = ["logo", "badge"].every((id) => document.getElementById(id).naturalWidth > 0);
  show("images", drawn ? "Images: ok" : "Images: missing", drawn ? "ok" : "failed");
});

fetch("/certificates/filter", { method: "POST", headers: { "content-type": "application/json" }, body: "{}" })
  .then((answer) => (answer.ok ? answer.json() : Promise.reject(new Error(`status ${answer.status}`))))
  .then((page) => {
    const row = (certificate) => {
      const tr = document.createElement("tr");
      for (const field of ["serialNo", "certificateType", "ecu", "validTo"]) {
        tr.insertCell().textContent = certificate[field];
      }
      return tr;
    };
    document.getElementById("certificates").replaceChildren(...page.items.map(row));
    show("fetch", "fetch: ok", "ok");
  })
  .catch((error) => show("fetch", `fetch: ${error.message}`, "failed"));

const events = new EventSource("/sse");
events.onmessage = (event) => show("sse", `SSE: tick ${JSON.parse(event.data).tick}`, "ok");
events.onerror = () => show("sse", "SSE: interrupted", "failed");

const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws/info`);
socket.onmessage = (event) => show("websocket", `WebSocket: tick ${JSON.parse(event.data).tick}`, "ok");
socket.onclose = (event) => show("websocket", `WebSocket: closed ${event.code} ${event.reason}`.trim(), "failed");
