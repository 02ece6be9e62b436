internal import NodeCore
internal import Transport

/// What a node says of itself, its cluster and its API.
extension API {
    static let node: [Endpoint] = [health, cluster, metrics, listPresence, onePresence, openAPI, page]

    private static let health = Endpoint(
        method: .get, path: "/health", tag: .cluster, summary: "How the node is",
        answers: [
            .ok("It serves.", .named("Health")),
            Answer(
                status: 503, about: "It should get no traffic: `status` says why.", schema: .named("Health")),
        ], make: { _, _, _ in .askWithHealth(.health) { .health($0) } })

    private static let cluster = Endpoint(
        method: .get, path: "/api/cluster", tag: .cluster, summary: "Who is here, and how far each has read",
        answers: [
            .ok(
                "The cluster as this node sees it.",
                .object([
                    .required("name", .text()), .required("replica", .text()),
                    .required("members", .array(.named("Member"))),
                    .required("reachable", .count, "Members that are alive."), .required("cluster", .text()),
                ]))
        ], make: { _, _, _ in .ask(.cluster) })

    private static let metrics = Endpoint(
        method: .get, path: "/metrics", tag: .cluster, summary: "Counters and histograms for Prometheus",
        answers: [
            Answer(status: 200, about: "The Prometheus text format 0.0.4.", schema: .text(), type: "text/plain")
        ], make: { _, _, _ in .askWithHealth(.metrics) { .metrics($0) } })

    private static let listPresence = Endpoint(
        method: .get, path: "/api/presence", tag: .cluster, summary: "Which agents are connected, and where",
        about: "At most 10,000 agents.",
        answers: [
            .ok(
                "The agents.",
                .object([
                    .required("agents", .array(.named("Presence"))), .required("truncated", .boolean()),
                    .required("reachable", .count, "Members that are alive."),
                ]))
        ], headers: ["Hypha-Reachable"], make: { _, _, _ in .ask(.presence) })

    private static let onePresence = Endpoint(
        method: .get, path: "/api/presence/{agent}", tag: .cluster, summary: "Where an agent is connected",
        parameters: [.path("agent", .name, "The agent.")],
        answers: [.ok("Its sessions.", .named("Presence")), .refusal(404, "It is not connected anywhere.")],
        make: { path, _, _ in .ask(.presenceOf(agent: path["agent"] ?? "")) })

    private static let openAPI = Endpoint(
        method: .get, path: "/openapi.json", tag: .cluster, summary: "This reference for programs, as OpenAPI 3.1",
        answers: [.ok("The description of all routes.", .object([]))], make: { _, _, _ in .reference(.openAPI) })

    private static let page = Endpoint(
        method: .get, path: "/docs", tag: .cluster, summary: "This reference for people, as a page",
        answers: [Answer(status: 200, about: "The page.", schema: .text(), type: "text/html")],
        make: { _, _, _ in .reference(.page) })

    static let nodeSchemas: [NamedSchema] = [
        NamedSchema(
            name: "Health",
            schema: .object([
                .required("status", .text(), "`ok`, `read-only`, `catching up`, `leaving`, …"),
                .required("version", .text()), .required("name", .text()), .required("replica", .text()),
                .required("cluster", .text()), .required("uptime_s", .count), .required("peers_alive", .count),
                .required("peers_seen", .count), .required("peers_linked", .count), .required("repairing", .boolean()),
                .required("durable", .boolean()), .maybe("unsynced_bytes", .count), .required("events", .count),
                .required("log_bytes", .count), .required("waiting_bytes", .count), .required("signals", .count),
                .required("sessions", .count), .required("sessions_elsewhere", .count), .required("groups", .count),
                .required("connections", .count), .required("loop_lag_ms", .number(0...1e12)),
                .required("local_health", .count), .required("clock_behind_peers_ms", .integer()),
                .required("clock_corrections", .count),
            ])),
        NamedSchema(
            name: "Member",
            schema: .object([
                .required("name", .text()), .required("replica", .text()),
                .required("state", .text(choices: ["alive", "suspect", "dead", "left"])), .required("http", .text()),
                .required("gossip", .text()), .required("incarnation", .text()),
                .required("read", .map(.count), "How far it has read in each log, as it last said."),
            ])),
        NamedSchema(
            name: "Presence",
            schema: .object([
                .required("agent", .text()), .required("sessions", .array(.named("Session"))),
            ])),
        NamedSchema(
            name: "Session",
            schema: .object([
                .required("node", .text()), .required("replica", .text()), .required("session", .count),
                .required("form", .text(choices: ["websocket", "stream"])), .required("since", .time),
                .required("node_gone", .boolean(), "Its node was found dead or has left; it is shown for a while."),
                .required("groups", .array(.text())),
            ])),
    ]
}
