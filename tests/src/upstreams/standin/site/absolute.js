"use strict";

{
  const check = async (id, name, work) => {
    try {
      show(id, `${name}: ${await work()}`, "ok");
    } catch (error) {
      show(id, `${name}: ${error.message}`, "failed");
    }
  };
  const here = (address) => {
    const { origin } = new URL(address.replace(/^ws/, "http"));
    if (origin !== location.origin) throw new Error(`leads to ${origin}`);
    return address;
  };
  const json = async (address) => {
    const answer = await fetch(here(address));
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    return answer.json();
  };

  check("absolute-script", "Absolute script", () => here("{{origin}}/") && "ok");
  check("absolute-styles", "Absolute styles", () => {
    const styles = getComputedStyle(document.getElementById("absolute-styles"));
    if (styles.getPropertyValue("--styled-absolutely") !== "yes") throw new Error("missing");
    return here(/url\("(.*)"\)/.exec(styles.backgroundImage)[1]) && "ok";
  });
  check("absolute-fetch", "Absolute fetch", async () => {
    const links = await json("{{origin}}/assets/links.json");
    const manifest = await json(links.manifest);
    return here(manifest.start_url) && (await json(links.user)).userName;
  });
  check("absolute-cookie", "Cookie of this server", () => {
    if (!document.cookie.includes("zenzefi_visited=yes")) throw new Error("not kept");
    return "ok";
  });

  const events = new EventSource("{{origin}}/sse");
  events.onmessage = ({ data }) => {
    const { from, tick } = JSON.parse(data);
    check("absolute-sse", "Absolute SSE", () => here(from) && `tick ${tick}`);
  };
  events.onerror = () => show("absolute-sse", "Absolute SSE: interrupted", "failed");
  const socket = new WebSocket(here("{{socket_origin}}/ws/info"));
  socket.onmessage = ({ data }) => show("absolute-websocket", `Absolute WebSocket: tick ${JSON.parse(data).tick}`, "ok");
  socket.onerror = () => show("absolute-websocket", "Absolute WebSocket: refused", "failed");
}
