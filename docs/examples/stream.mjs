// Events by Server-Sent Events in Node.js 20 or newer, which go on at another node when one is gone.
//
//     node stream.mjs 'tasks.>' http://127.0.0.1:5000 http://127.0.0.1:5001

const [topic = ">", ...nodes] = process.argv.slice(2);
if (nodes.length === 0) nodes.push("http://127.0.0.1:5000");
let cursor = ""; // Keep it with what you made of the events, and a restart goes on where this process stopped.

function handle(event) {
  console.log(JSON.stringify(event));
}

async function listen(node) {
  const answer = await fetch(`${node}/api/stream?${new URLSearchParams({ topic, cursor })}`);
  if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
  let text = "";
  for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) {
    const blocks = (text + piece).split("\n\n");
    text = blocks.pop();
    for (const block of blocks) take(block);
  }
}

function take(block) {
  const field = (name) => block.split("\n").find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
  const data = field("data") && JSON.parse(field("data"));
  if (field("event") === "message") handle(data);
  if (field("event") === "drain") nodes.push(...data.nodes.filter((node) => !nodes.includes(node)));
  if (field("event") === "resumed" && !data.recovered) console.error("no longer kept:", data.gaps);
  cursor = field("id") ?? data?.cursor ?? cursor;
}

for (let turn = 0; ; turn += 1) {
  const node = nodes[turn % nodes.length];
  await listen(node).catch((error) => console.error(`${node}: ${error.cause?.code ?? error.message}`));
  await new Promise((resume) => setTimeout(resume, 500));
}
