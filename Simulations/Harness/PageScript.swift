/// The scripts of a report: one draws, the other answers the pointer.
enum PageScript {
    /// Reads the run and draws lanes and curves.
    static let drawing = #"""
        const run = JSON.parse(document.getElementById("run").textContent);
        const n = run.peers.length, end = Math.max(1, run.end), samples = run.samples;
        const beliefNames = ["unknown", "alive", "suspect", "dead", "left", "only an earlier life"];
        const beliefColours = ["none", "--alive", "--suspect", "--dead", "--left", "--outdated"];
        const seconds = ms => (ms / 1000).toFixed(ms < 10000 ? 2 : 1) + " s";
        const bytes = b => b < 1000 ? Math.round(b) + " B" : b < 1e6 ? (b / 1e3).toPrecision(3) + " kB"
          : (b / 1e6).toPrecision(3) + " MB";
        const tidy = v => v >= 1e6 ? (v / 1e6).toPrecision(3) + " M" : v >= 1e4 ? (v / 1e3).toPrecision(3) + " k"
          : String(Math.round(v));
        const escape = t => String(t).replace(/[&<>"]/g, c => "&#" + c.charCodeAt(0) + ";");

        // Lives, stops, cuts and weather as spans; everything else as marks.
        const lives = run.peers.map(() => []), stops = run.peers.map(() => []), marks = [], cuts = [], weather = [];
        let cut = null;
        for (const note of run.notes) {
          const { at, kind, peer } = note;
          const life = peer === undefined ? null : lives[peer][lives[peer].length - 1];
          if (kind === "start") {
            lives[peer].push({ from: at, to: end, leaving: null });
            const wrong = Math.abs(note.wrong) > 2000 ? `, its wall clock ${note.wrong} ms off` : "";
            marks.push({ at, peer, sign: wrong ? "◔" : "▸", text: "starts" + wrong });
          } else if (kind === "kill") {
            if (life) life.to = at;
            marks.push({ at, peer, sign: "✕", text: "is killed" });
          } else if (kind === "leaving") {
            if (life) life.leaving = at;
            marks.push({ at, peer, sign: "↗", text: "leaves" });
          } else if (kind === "left") {
            if (life) life.to = at;
          } else if (kind === "stop") {
            stops[peer].push({ from: at, to: Math.min(at + note.ms, end) });
            marks.push({ at, peer, sign: "", text: `is stopped for ${seconds(note.ms)}` });
          } else if (kind === "reset") {
            marks.push({ at, peer, sign: "⟲", text: "resets and takes a new replica id" });
          } else if (kind === "cut") {
            if (cut) cuts.push({ ...cut, to: at });
            cut = note.deaf.length ? { from: at, deaf: note.deaf } : null;
          } else if (kind === "weather") {
            if (note.ms > 0) weather.push(
              { from: at, to: Math.min(at + note.ms, end), name: note.name, text: note.text });
            else marks.push({ at, peer: note.peers[0], sign: { step: "◔", drift: "∿", clone: "⧉", rot: "▦",
                lostfile: "▦", baddisk: "▦", wipe: "▢", stale: "◁", restore: "◁", power: "ϟ" }[note.name] || "•",
              text: note.text });
          } else if (kind === "broken") {
            marks.push({ at, peer: null, sign: "", text: "broken: " + note.text, broken: true });
          }
        }
        if (cut) cuts.push({ ...cut, to: end });
        for (const list of stops) for (const stop of list) stop.to = Math.min(stop.to, end);
        stops.forEach((list, peer) => list.forEach(stop => {
          const life = lives[peer].find(l => l.from <= stop.from && stop.from <= l.to);
          if (life) stop.to = Math.min(stop.to, life.to);
        }));

        // Beliefs as spans: beliefs[observer][about].
        const beliefs = run.peers.map(() => run.peers.map(() => []));
        for (const [at, observer, about, state] of run.beliefs) {
          const spans = beliefs[observer][about], last = spans[spans.length - 1];
          if (last) last.to = at;
          spans.push({ from: at, to: end, state });
        }
        const clip = (spans, life) => spans.filter(s => s.to > life.from && s.from < life.to)
          .map(s => ({ ...s, from: Math.max(s.from, life.from), to: Math.min(s.to, life.to) }));

        // Which side of a cut a peer is on; "oneway" where it hears others than those that hear it.
        function side(deaf, peer) {
          const mutes = run.peers.map((_, i) => i).filter(i => deaf[i].includes(peer));
          if (!deaf[peer].length && !mutes.length) return null;
          if (deaf[peer].join() !== mutes.join()) return "oneway";
          return [...new Set(deaf.map(d => d.join()).filter(d => d))].indexOf(deaf[peer].join()) % 4;
        }

        const delta = (list, i) => i === 0 ? 0
          : (list[i] - list[i - 1]) * 1000 / Math.max(1, samples.at[i] - samples.at[i - 1]);
        const panels = [
          { name: "entries missing, all peers", unit: tidy, lines: [{ colour: "--curve", fill: true, label: "missing",
            values: samples.missing.map(m => m.reduce((a, b) => a + (b || 0), 0)) }] },
          { name: "bytes waiting for causes", unit: bytes, lines: [{ colour: "--outdated", fill: true,
            label: "waiting", values: samples.waiting }] },
          { name: "bytes per second in streams", unit: bytes, lines: [{ colour: "--curve2", fill: true,
            label: "streams", values: samples.at.map((_, i) => delta(samples.streams, i)) }] },
          { name: "bytes per second in datagrams", unit: bytes, lines: [{ colour: "--alive", fill: true,
            label: "datagrams", values: samples.at.map((_, i) => delta(samples.datagrams, i)) }] },
        ];

        let view = null;
        function draw() {
          const width = Math.max(560, document.getElementById("drawing").clientWidth);
          const L = 52, R = 14, W = width - L - R, x = t => L + t / end * W;
          const strip = n < 2 ? 0 : Math.max(1.2, Math.min(7, 72 / (n - 1)));
          const lane = 15 + strip * (n - 1) + 5, gap = 5, top = 26 + (weather.length ? 20 : 0);
          const out = [], V = c => `var(${c})`;
          const rect = (a, b, y, h, fill, more = "") => out.push(`<rect x="${x(a).toFixed(1)}" y="${y.toFixed(1)}" ` +
            `width="${Math.max(.6, x(b) - x(a)).toFixed(1)}" height="${h.toFixed(1)}" fill="${fill}" ${more}/>`);
          const stripes = (id, colour, angle, w) => `<pattern id="${id}" width="${w}" height="${w}" ` +
            `patternUnits="userSpaceOnUse" patternTransform="rotate(${angle})"><line x1="0" y1="0" x2="0" y2="${w}" ` +
            `stroke="${V(colour)}" stroke-width="${w / 2.6}"/></pattern>`;
          out.push(`<defs>${stripes("oneway", "--oneway", 35, 8)}${stripes("stopped", "--stop", -45, 7)}` +
            `${stripes("down", "--line", 45, 6)}</defs>`);
          const lanesEnd = top + n * (lane + gap), panel = 62;
          const height = lanesEnd + 12 + panels.length * (panel + 22) + 22;

          const step = [.1, .2, .5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400]
            .map(s => s * 1000).find(s => end / s <= Math.max(4, W / 90)) || end / 10;
          for (let t = 0; t <= end; t += step) {
            out.push(`<line class="grid" x1="${x(t)}" x2="${x(t)}" y1="18" y2="${height - 20}"/>` +
              `<text class="axis" x="${x(t)}" y="12" text-anchor="middle">${+(t / 1000).toFixed(1)} s</text>`);
          }
          if (weather.length) out.push(
            `<text class="axis" x="${L - 8}" y="${top - 8}" text-anchor="end">weather</text>`);
          for (const w of weather) {
            rect(w.from, w.to, top - 18, 12, V(w.name === "slow" ? "--side3" : "--soft"), 'rx="2" opacity=".5"');
            if (x(w.to) - x(w.from) > 34) out.push(`<text class="axis" x="${x(w.from) + 4}" y="${top - 8.5}" ` +
              `style="fill:var(--ink)">${w.name}</text>`);
          }
          for (let i = 0; i < n; i++) {
            const y = top + i * (lane + gap);
            out.push(`<text class="name" x="${L - 8}" y="${y + 12}" text-anchor="end">${escape(run.peers[i])}</text>`);
            rect(0, end, y, lane, "url(#down)", 'opacity=".55" rx="3"');
            lives[i].forEach((life, k) => {
              rect(life.from, life.to, y, lane, V("--lane"));
              rect(life.from, life.to, y, 11, V("--bar"), 'opacity=".28"');
              if (life.leaving !== null) rect(life.leaving, life.to, y, 11, V("--left"));
              if (x(life.to) - x(life.from) > 60) out.push(
                `<text class="axis" x="${x(life.from) + 14}" y="${y + 9}" font-size="9">life ${k + 1}</text>`);
              let row = 0;
              for (let j = 0; j < n; j++) {
                if (j === i) continue;
                for (const span of clip(beliefs[i][j], life)) if (span.state) rect(span.from, span.to,
                  y + 15 + row * strip, strip > 3 ? strip - 1 : strip, V(beliefColours[span.state]),
                  `opacity="${span.state === 1 ? .55 : .95}"`);
                row++;
              }
            });
            for (const c of cuts) {
              const s = side(c.deaf, i);
              if (s === "oneway") rect(c.from, c.to, y, lane, "url(#oneway)", 'opacity=".33"');
              else if (s !== null) rect(c.from, c.to, y, lane, V("--side" + s), 'style="opacity:var(--shade)"');
              if (s !== null) rect(c.from, c.to, y - 2, 3, s === "oneway" ? V("--oneway") : V("--side" + s));
            }
            for (const stop of stops[i]) {
              rect(stop.from, stop.to, y, lane, "url(#stopped)", 'opacity=".5"');
            }
          }
          for (const mark of marks) {
            if (mark.broken) out.push(`<line x1="${x(mark.at)}" x2="${x(mark.at)}" y1="18" y2="${height - 20}" ` +
              `stroke="${V("--bad")}" stroke-width="1.6"/>`);
            else if (mark.sign) out.push(`<text class="mark" x="${Math.max(x(mark.at), L + 6)}" ` +
              `y="${top + mark.peer * (lane + gap) + 10}"` +
              `${mark.sign === "✕" ? ' style="fill:var(--bad)"' : ""}>${mark.sign}</text>`);
          }
          panels.forEach((p, k) => {
            const y = lanesEnd + 28 + k * (panel + 22), most = Math.max(1, ...p.lines.flatMap(l => l.values));
            const at = v => y + panel - v / most * (panel - 6);
            out.push(`<line class="grid" x1="${L}" x2="${L + W}" y1="${y + panel}" y2="${y + panel}"/>` +
              `<text class="axis" x="${L}" y="${y - 4}">${p.name}</text>` +
              `<text class="axis" x="${L - 8}" y="${y + 10}" text-anchor="end">${p.unit(most)}</text>` +
              `<text class="axis" x="${L - 8}" y="${y + panel}" text-anchor="end">0</text>`);
            for (const line of p.lines) {
              const points = line.values.map((v, i) => `${x(samples.at[i]).toFixed(1)},${at(v).toFixed(1)}`);
              if (!points.length) continue;
              if (line.fill) out.push(`<path d="M${x(samples.at[0])},${y + panel}L${points.join("L")}L` +
                `${x(samples.at[points.length - 1])},${y + panel}Z" fill="${V(line.colour)}" opacity=".22"/>`);
              out.push(`<polyline points="${points.join(" ")}" fill="none" stroke="${V(line.colour)}" ` +
                `stroke-width="1.4" stroke-linejoin="round"/>`);
            }
          });
          for (const [t, label] of run.phases || []) if (t <= end) out.push(
            `<line class="phase" x1="${x(t)}" x2="${x(t)}" y1="18" y2="${height - 16}"/>` +
            `<text class="axis" x="${x(t)}" y="${height - 5}" ` +
            `text-anchor="${/^faults/.test(label) || t > end * .92 ? "end" : "start"}">` +
            `${label}</text>`);
          out.push(`<line id="cross" y1="18" y2="${height - 20}" ` +
            `stroke="${V("--ink")}" stroke-width="1" opacity="0"/>`);
          document.getElementById("drawing").innerHTML =
            `<svg viewBox="0 0 ${width} ${height}" height="${height}" role="img">${out.join("")}</svg>`;
          view = { L, W, x, top, lane, gap, lanesEnd, width };
        }
        """#

    /// Fills the text around the drawing and shows what is under the pointer.
    static let reading = #"""
        const put = (id, html) => { document.getElementById(id).innerHTML = html; };
        put("title", `${escape(run.story)}<small>seed ${run.seed} · ${n} peer${n === 1 ? "" : "s"} · ` +
          `${seconds(end)} of virtual time</small>`);
        put("verdict", run.broken ? '<span class="verdict broken">a promise was broken</span>'
          : '<span class="verdict held">every promise held</span>');
        put("promise", escape(run.broken ? run.broken.promise : run.promise));
        put("seen", run.broken ? escape(run.broken.detail) : "");
        put("world", escape(run.world).replace(/, /g, "<br>"));
        put("again", escape(run.again));
        put("tally", run.tally.map(([name, count]) =>
          `<tr><td>${count.toLocaleString("en")}</td><td>${escape(name)}</td></tr>`).join(""));
        const told = note => `${seconds(note.at).padStart(10)}  ` +
          `${note.peer === null ? "" : run.peers[note.peer] + " "}` +
          note.text;
        put("story", escape((run.plan.length ? run.plan : marks.filter(m => m.sign || m.broken).map(told)).join("\n")));
        put("log", escape(run.log.join("\n")));
        if (!run.log.length) document.getElementById("logcard").remove();
        const swatch = (style, text) => `<span><i style="${style}"></i>${text}</span>`;
        const signs = [["✕", "killed"], ["▸", "starts"], ["↗", "leaves"], ["⟲", "resets"], ["◔", "wrong wall clock"],
          ["∿", "drift"], ["⧉", "clone"], ["▦", "disk damaged"], ["▢", "disk wiped"], ["◁", "disk set back"],
          ["ϟ", "power lost"]].filter(([s]) => marks.some(m => m.sign === s));
        put("legend", "<span>strips: what a peer believes of each other one</span>" +
          [1, 2, 3, 4, 5].filter(s => run.beliefs.some(b => b[3] === s))
            .map(s => swatch(`background:var(${beliefColours[s]})`, beliefNames[s])).join("") +
          (cuts.length ? swatch("background:var(--side0);opacity:.5", "cut off, one tint per side") +
            swatch("background:repeating-linear-gradient(125deg,var(--oneway) 0 2px,transparent 2px 5px)",
              "hears others than those that hear it") : "") +
          (stops.some(s => s.length) ? swatch("background:repeating-linear-gradient(45deg,var(--stop) 0 2px," +
            "transparent 2px 5px)", "stopped") : "") +
          signs.map(([s, text]) => `<span>${s} ${text}</span>`).join(""));

        const at = t => { // the last sample not later than t
          let low = 0, high = samples.at.length - 1;
          while (low < high) {
            const mid = (low + high + 1) >> 1;
            if (samples.at[mid] <= t) low = mid; else high = mid - 1;
          }
          return low;
        };
        const inside = (spans, t) => spans.find(s => s.from <= t && t < s.to);
        const dot = (colour, text) => `<div class="row"><i style="background:${colour}"></i><span>${text}</span></div>`;

        function describe(t, peer) {
          const parts = [`<b>${seconds(t)}</b>`], i = at(t), near = end * 4 / view.W;
          for (const m of marks) if (Math.abs(m.at - t) <= near &&
            (peer === null || m.peer === null || m.peer === peer))
            parts.push(`<div>${m.peer === null ? "" : `<b>${run.peers[m.peer]}</b> `}${escape(m.text)} ` +
              `<span class="soft">at ${seconds(m.at)}</span></div>`);
          for (const w of weather) if (w.from <= t && t < w.to) parts.push(`<div>${escape(w.text)}</div>`);
          const c = inside(cuts, t);
          if (peer !== null) {
            const life = inside(lives[peer], t), names = list => list.map(p => run.peers[p]).join(", ");
            parts.push(`<div><b>${run.peers[peer]}</b>: ${!life ? "does not run"
              : inside(stops[peer], t) ? "stopped" : life.leaving !== null && t >= life.leaving ? "leaving"
              : "life " + (lives[peer].indexOf(life) + 1)}` +
              (life && samples.read[i][peer] !== null ? `, ${samples.read[i][peer]} entries read, ` +
                `${samples.missing[i][peer]} missing` : "") + "</div>");
            if (c && c.deaf[peer].length) parts.push(`<div>does not hear ${names(c.deaf[peer])}</div>`);
            const mutes = c ? run.peers.map((_, p) => p).filter(p => c.deaf[p].includes(peer)) : [];
            if (mutes.length) parts.push(`<div>is not heard by ${names(mutes)}</div>`);
            if (life) for (let j = 0; j < n; j++) {
              const b = j === peer ? null : inside(clip(beliefs[peer][j], life), t);
              if (b) parts.push(dot(b.state ? `var(${beliefColours[b.state]})` : "none",
                `${run.peers[j]} ${beliefNames[b.state]}`));
            }
          } else {
            for (const p of panels) for (const line of p.lines)
              parts.push(dot(`var(${line.colour})`, `${line.label}: ${p.unit(line.values[i] || 0)}` +
                (p.name.includes("second") ? "/s" : "")));
            const behind = run.peers.map((name, p) => [name, samples.missing[i][p]]).filter(([, m]) => m > 0);
            if (behind.length) parts.push(`<div class="soft">${behind.map(([name, m]) => `${name} lacks ${m}`)
              .join(", ")}</div>`);
          }
          return parts.join("");
        }

        const figure = document.getElementById("figure"), tip = document.getElementById("tip");
        figure.addEventListener("pointermove", event => {
          const svg = figure.querySelector("svg"), box = svg.getBoundingClientRect(), scale = view.width / box.width;
          const px = (event.clientX - box.left) * scale, py = (event.clientY - box.top) * scale;
          const t = (px - view.L) / view.W * end, cross = document.getElementById("cross");
          if (t < 0 || t > end || py < 0) { tip.style.display = "none"; cross.setAttribute("opacity", 0); return; }
          cross.setAttribute("x1", px); cross.setAttribute("x2", px); cross.setAttribute("opacity", .45);
          const row = Math.floor((py - view.top) / (view.lane + view.gap));
          tip.innerHTML = describe(t, row >= 0 && row < n && py < view.lanesEnd ? row : null);
          tip.style.display = "block";
          const frame = figure.getBoundingClientRect(), left = event.clientX - frame.left;
          tip.style.left = (left + tip.offsetWidth + 30 > frame.width ? left - tip.offsetWidth - 14 : left + 16) + "px";
          const lowest = frame.height - tip.offsetHeight - 6;
          tip.style.top = Math.max(4, Math.min(event.clientY - frame.top + 12, lowest)) + "px";
        });
        figure.addEventListener("pointerleave", () => {
          tip.style.display = "none"; document.getElementById("cross").setAttribute("opacity", 0);
        });
        draw();
        addEventListener("resize", draw);
        """#
}
