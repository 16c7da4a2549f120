"use strict";
(() => {
  const SAMPLES = 60, SILENCE_MS = 6000, AGAIN_MS = 2000, SPAN_MS = 4500;
  const at = (id) => document.getElementById(id);
  const whole = new Intl.NumberFormat();
  const short = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 3 });
  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
  const cards = new Map();
  let source, again, heard = 0, shown = new Set();

  // Text goes in as text, never as markup.
  const make = (tag, name, text) => {
    const node = document.createElement(tag);
    if (name) node.className = name;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const svg = (tag, attributes) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  };
  const say = (kind, text) => {
    const state = at("state");
    if (state.textContent !== text) state.textContent = text;
    state.className = "pill " + kind;
  };
  const seconds = (s) => s < 90 ? s.toFixed(1) + " s" : s < 5400 ? Math.round(s / 60) + " min" : Math.round(s / 3600) + " h";

  function card(name) {
    const box = make("article", "card"), top = make("div", "top"), list = make("dl");
    const parts = { box, topic: make("span", "topic mono"), landed: make("span", "", "0"), rate: make("small", "rate"), samples: [], past: [] };
    const figure = make("div", "landed");
    figure.append(parts.landed, make("small", "", "landed"), parts.rate);
    top.append(make("h2", "", name), parts.topic);
    const chart = svg("svg", { viewBox: `0 0 ${SAMPLES - 1} 1`, preserveAspectRatio: "none", "aria-hidden": "true" });
    parts.area = svg("path", { class: "area" });
    parts.line = svg("path", {});
    chart.append(parts.area, parts.line);
    for (const [key, label] of [["logged", "Logged"], ["lag", "Lag"], ["dead", "Dead letters"], ["oldest", "Oldest waits"], ["metadata", "Metadata"]]) {
      const row = make("div");
      parts[key] = make("dd");
      row.append(make("dt", "", label), parts[key]);
      list.append(row);
    }
    box.append(top, figure, chart, list);
    at("streams").append(box);
    return parts;
  }

  function draw(parts) {
    const rates = parts.samples, top = Math.max(...rates, 1), from = SAMPLES - rates.length;
    const points = rates.map((rate, index) => `${from + index} ${(1 - rate / top).toFixed(3)}`);
    parts.line.setAttribute("d", points.length > 1 ? "M" + points.join("L") : "");
    parts.area.setAttribute("d", points.length > 1 ? `M${from} 1L${points.join("L")}L${SAMPLES - 1} 1Z` : "");
  }

  function stream(name, now, figures) {
    if (!cards.has(name)) cards.set(name, card(name));
    const parts = cards.get(name);
    // Over some seconds, because a busy gateway tells the same figures more than once.
    parts.past = [...parts.past.filter((one) => now - one.at < SPAN_MS), { at: now, landed: figures.landed }];
    const [from] = parts.past;
    if (now > from.at) {
      const rate = Math.max(0, figures.landed - from.landed) / ((now - from.at) / 1000);
      parts.samples = [...parts.samples, rate].slice(-SAMPLES);
      parts.rate.textContent = rate >= 0.5 ? `${short.format(rate)} a second` : "";
      draw(parts);
    }
    parts.topic.textContent = figures.topic;
    parts.topic.title = figures.topic;
    parts.landed.textContent = whole.format(figures.landed);
    parts.logged.textContent = whole.format(figures.logged);
    parts.lag.textContent = whole.format(figures.lag);
    parts.dead.textContent = whole.format(figures.dead_lettered);
    parts.dead.className = figures.dead_lettered ? "bad" : "";
    const waits = figures.oldest_unlanded_s;
    parts.oldest.textContent = waits === null ? "–" : seconds(waits);
    parts.oldest.className = waits > 60 ? "warn" : "";
    const share = figures.metadata_complete;
    parts.metadata.textContent = (Math.floor(share * 1000) / 10).toLocaleString() + " %";
    parts.metadata.className = share < 1 ? "warn" : "";
  }

  function recent(rows) {
    const ids = rows.map((row) => row.ingestion_id);
    at("recent").hidden = !rows.length;
    at("none").hidden = rows.length > 0;
    if (ids.length === shown.size && ids.every((id) => shown.has(id))) return;
    const first = shown.size === 0;
    at("recent").tBodies[0].replaceChildren(...rows.map((row) => {
      const line = make("tr", first || shown.has(row.ingestion_id) ? "" : "new");
      const landed = new Date(row.ingested_at);
      const when = make("td", "when mono", isNaN(landed) ? "" : clock.format(landed));
      when.title = `occurred ${row.occurred_at}`;
      const id = make("td", "id mono", row.event_id);
      id.title = row.event_id;
      line.append(when, make("td", "", row.event_type), make("td", "mono", row.ingestion_id), id,
        make("td", "", row.producer_service), make("td", "payload mono", row.payload));
      return line;
    }));
    shown = new Set(ids);
  }

  function open() {
    clearTimeout(again);
    if (source) source.close();
    source = new EventSource("v1/stream");
    source.addEventListener("status", (event) => {
      heard = Date.now();
      const told = JSON.parse(event.data);
      for (const [name, figures] of Object.entries(told.streams)) stream(name, heard, figures);
      recent(told.recent);
      at("version").textContent = "FlowGuard " + told.version;
      say("good", "live");
    });
    source.addEventListener("trouble", (event) => {
      heard = Date.now();
      say("bad", "no figures: " + JSON.parse(event.data).detail);
    });
    source.onerror = () => {
      say("bad", "the gateway is away; trying again…");
      if (source.readyState === EventSource.CLOSED) again = setTimeout(open, AGAIN_MS);
    };
  }

  setInterval(() => {
    if (source.readyState === EventSource.OPEN && heard && Date.now() - heard > SILENCE_MS) {
      say("warn", `no news for ${Math.round((Date.now() - heard) / 1000)} s`);
    }
  }, 1000);
  open();
})();
