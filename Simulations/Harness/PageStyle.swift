/// What a report looks like: colours for light and dark, and the frame that the scripts fill.
enum PageStyle {
    static let css = #"""
        :root {
          color-scheme: light dark;
          --paper: #fbfaf7; --card: #ffffff; --ink: #23272e; --soft: #6a7280; --line: #e2e0d9; --lane: #f1f0ea;
          --bar: #56616f; --alive: #4fa37a; --suspect: #e2a72e; --dead: #d24b45; --left: #a3a8ae; --outdated: #8a70cf;
          --side0: #3b82f6; --side1: #f08a24; --side2: #14a3a0; --side3: #b45ad0; --oneway: #c2418f;
          --stop: #e2a72e; --curve: #3566b8; --curve2: #c0641c; --good: #2f7d55; --bad: #b8322c; --shade: .17;
        }
        @media (prefers-color-scheme: dark) {
          :root {
            --paper: #15181d; --card: #1c2027; --ink: #e3e6ea; --soft: #929ba8; --line: #2e343d; --lane: #232830;
            --bar: #8b97a6; --alive: #4c9c76; --suspect: #d9a33a; --dead: #e0605a; --left: #6c737c;
            --outdated: #9c86dc; --side0: #5b9bff; --side1: #f39a45; --side2: #35bdb8; --side3: #c783dd;
            --oneway: #e06fb3; --curve: #7aa7f0; --curve2: #eaa05f; --good: #63b58b; --bad: #ee7d76; --shade: .2;
          }
        }
        * { box-sizing: border-box; }
        body {
          margin: 0 auto; padding: 28px 28px 60px; max-width: 1500px; background: var(--paper); color: var(--ink);
          font: 14px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
        }
        h1 { font-size: 22px; margin: 0; font-weight: 650; letter-spacing: -.01em; }
        h1 small { color: var(--soft); font-weight: 400; font-size: 15px; margin-left: .5em; }
        h2 { font-size: 13px; margin: 0 0 8px; color: var(--soft); font-weight: 600; }
        header p { margin: 4px 0 0; max-width: 110ch; }
        .soft { color: var(--soft); }
        .verdict { display: inline-block; font-weight: 600; padding: 1px 10px; border-radius: 99px; margin-right: 8px; }
        .held { color: var(--good); border: 1px solid var(--good); }
        .broken { color: var(--bad); border: 1px solid var(--bad); }
        .card {
          background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px;
          margin-top: 16px; overflow-x: auto;
        }
        #figure { position: relative; padding: 10px 6px 6px; overflow: hidden; }
        #figure svg { display: block; width: 100%; font-size: 11px; }
        .legend {
          display: flex; flex-wrap: wrap; gap: 4px 18px; padding: 4px 12px 8px; font-size: 12px; color: var(--soft);
        }
        .legend span { display: inline-flex; align-items: center; gap: 6px; }
        .legend i { width: 14px; height: 10px; border-radius: 2px; display: inline-block; }
        .columns { display: grid; grid-template-columns: 3fr 2fr; gap: 16px; align-items: start; }
        @media (max-width: 900px) { .columns { grid-template-columns: 1fr; } }
        pre { margin: 0; font: 12px/1.6 ui-monospace, "DejaVu Sans Mono", Menlo, monospace; white-space: pre-wrap; }
        #log { max-height: 320px; overflow: auto; }
        pre.command { overflow-wrap: anywhere; }
        table { border-collapse: collapse; font-size: 12.5px; }
        td { padding: 1px 10px 1px 0; } td:first-child { text-align: right; font-variant-numeric: tabular-nums; }
        #tip {
          position: absolute; pointer-events: none; display: none; background: var(--card); color: var(--ink);
          border: 1px solid var(--line); border-radius: 8px; padding: 8px 11px; font-size: 12px; line-height: 1.45;
          box-shadow: 0 6px 22px rgba(0, 0, 0, .18); max-width: 380px; z-index: 2;
        }
        #tip b { font-weight: 650; } #tip .row { display: flex; gap: 8px; align-items: baseline; }
        #tip i { width: 8px; height: 8px; border-radius: 2px; display: inline-block; flex: none; }
        .axis { fill: var(--soft); paint-order: stroke; stroke: var(--card); stroke-width: 2px; }
        .name { fill: var(--ink); font-weight: 600; font-size: 12px; }
        .grid { stroke: var(--line); stroke-width: 1; } .phase { stroke: var(--soft); stroke-dasharray: 2 4; }
        .mark { font-size: 11px; fill: var(--ink); text-anchor: middle; paint-order: stroke; stroke: var(--card);
          stroke-width: 3px; }
        """#

    static let body = #"""
        <header>
          <h1 id="title"></h1>
          <p><span id="verdict"></span><span id="promise"></span></p>
          <p id="seen" class="soft"></p>
        </header>
        <div class="card" id="figure"><div class="legend" id="legend"></div><div id="drawing"></div>
          <div id="tip"></div></div>
        <div class="columns">
          <div>
            <div class="card"><h2>What happened</h2><pre id="story"></pre></div>
            <div class="card"><h2>The same run again</h2><pre id="again" class="command"></pre></div>
            <div class="card" id="logcard"><h2>What nodes warned of</h2><pre id="log"></pre></div>
          </div>
          <div>
            <div class="card"><h2>The world</h2><div id="world"></div></div>
            <div class="card"><h2>How much there was of what</h2><table id="tally"></table></div>
          </div>
        </div>
        """#
}
