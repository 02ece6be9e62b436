// Events by WebSocket in Node.js 22 or newer (20: node --experimental-websocket), and in browsers; goes on at another
// node when one is gone.
//
//     node websocket.mjs 'tasks.>' http://127.0.0.1:5000 http://127.0.0.1:5001

const [topic = ">", ...nodes] = process.argv.slice(2);
if (nodes.length === 0) nodes.push("http://127.0.0.1:5000");
let cursor = ""; // Keep it with what you made of the events, and a restart goes on where this process stopped.

function handle(event) {
  console.log(JSON.stringify(event));
}

function listen(turn) {
  const socket = new WebSocket(`${nodes[turn % nodes.length].replace("http", "ws")}/ws`);
  socket.onopen = () => socket.send(JSON.stringify({ type: "subscribe", filter: { topic }, cursor }));
  socket.onmessage = (message) => {
    const said = JSON.parse(message.data);
    // A connection that has not subscribed yet gets SEMP events, without a cursor.
    if (said.type === "event" && said.cursor) handle(said.data);
    if (said.type === "drain") nodes.push(...said.nodes.filter((node) => !nodes.includes(node)));
    if (said.type === "resumed" && !said.recovered) console.error("no longer kept:", said.gaps);
    if (said.type === "error") console.error(said.message);
    cursor = said.cursor ?? cursor;
  };
  socket.onclose = () => setTimeout(listen, 500, turn + 1);
}

listen(0);
