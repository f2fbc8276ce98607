"use strict";

{
  const origin = "{{origin}}";
  const tell = (id, text, state) => {
    const line = document.getElementById(id);
    line.textContent = text;
    line.className = state;
  };
  tell("absolute-script", "Absolute script: ok", "ok");
  fetch(`${origin}/users/currentUser`)
    .then((answer) => tell("absolute-fetch", `Absolute fetch: ${answer.ok ? "ok" : answer.status}`, answer.ok ? "ok" : "failed"))
    .catch((error) => tell("absolute-fetch", `Absolute fetch: ${error.message}`, "failed"));
  const socket = new WebSocket(`${origin.replace(/^http/, "ws")}/ws/info`);
  socket.onmessage = (event) => tell("absolute-websocket", `Absolute WebSocket: tick ${JSON.parse(event.data).tick}`, "ok");
  socket.onerror = () => tell("absolute-websocket", "Absolute WebSocket: refused", "failed");
}
