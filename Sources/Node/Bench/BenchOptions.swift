/// What both benchmarks take.
struct Load: Equatable, Sendable {
    /// The nodes to load; connections are spread over them.
    var nodes = [NodeURL.standard]
    /// How long to measure.
    var seconds = 3.0
    /// How long to run before that.
    var warmup = 0.5
    /// Print the result as JSON.
    var json = false

    static func flags<Settings>(_ path: WritableKeyPath<Settings, Load>) -> [Flag<Settings>] {
        [
            .list(
                "node", "URL,…", path.appending(path: \.nodes), "Nodes to spread the load over",
                default: "\(NodeURL.standard)", NodeURL.read),
            .value(
                "seconds", "SECONDS", path.appending(path: \.seconds), "How long to measure", default: "3",
                variable: false, Read.decimal("a number of seconds from 0.1 to 600") { (0.1...600).contains($0) }),
            .value(
                "warmup", "SECONDS", path.appending(path: \.warmup), "How long to run before that", default: "0.5",
                variable: false, Read.decimal("a number of seconds from 0 to 60") { (0...60).contains($0) }),
            .toggle("json", path.appending(path: \.json), "Print the result as JSON"),
        ]
    }
}

/// `hypha bench post`.
struct BenchPostOptions: CommandOptions, Equatable, Sendable {
    var load = Load()
    var connections = 16
    var pipeline = 1

    static let page = HelpPage(
        name: "bench post", summary: "Measure how many events a node accepts each second.",
        detail: "Each event stays in the cluster's memory: measure a cluster that you can throw away.",
        examples: [
            ("bench post", "16 connections, one request at a time on each"),
            ("bench post --connections 64 --pipeline 8 --seconds 10", "as much as it can take"),
        ])

    static var flags: [Flag<Self>] {
        [
            .value(
                "connections", "COUNT", \.connections, "Open connections", default: "16", variable: false,
                Read.integer(1...10_000)),
            .value(
                "pipeline", "COUNT", \.pipeline, "Requests under way on each", default: "1", variable: false,
                Read.integer(1...1_024)),
        ] + Load.flags(\.load)
    }
}

/// `hypha bench fanout`.
struct BenchFanoutOptions: CommandOptions, Equatable, Sendable {
    var load = Load()
    var subscribers = 1_000
    var publishers = 4
    var window = 32
    var rate: Double?

    static let page = HelpPage(
        name: "bench fanout", summary: "Measure how fast events reach WebSocket subscribers, and that each comes once.",
        detail: """
            Without --rate it publishes as fast as the window allows. With it, events are sent by the clock and delays count
            from when an event was due. Each event stays in the cluster's memory: measure one you can throw away.
            """,
        examples: [
            ("bench fanout", "1,000 subscribers as fast as they can take it"),
            ("bench fanout --rate 200", "how long an event takes at 200 each second"),
            ("bench fanout --node 127.0.0.1:5000,127.0.0.1:5001", "across nodes"),
        ])

    static var flags: [Flag<Self>] {
        [
            .value(
                "subscribers", "COUNT", \.subscribers, "WebSocket clients", default: "1000", variable: false,
                Read.integer(1...50_000)),
            .value(
                "publishers", "COUNT", \.publishers, "Connections that post events", default: "4", variable: false,
                Read.integer(1...64)),
            .value(
                "window", "COUNT", \.window, "Events posted and not yet at all subscribers", default: "32",
                variable: false, Read.integer(1...65_536)),
            .value(
                "rate", "COUNT", \.rate, "Events each second instead of a window", variable: false,
                Read.decimal("a number of events per second from 1 to 1000000") { (1...1e6).contains($0) }),
        ] + Load.flags(\.load)
    }
}

/// `hypha bench merge`.
struct BenchMergeOptions: CommandOptions, Equatable, Sendable {
    var documents = 10_000
    var facts = 1_000_000
    var repeats = 3
    var push = false
    var json = false

    static let page = HelpPage(
        name: "bench merge", summary: "Measure how fast a node takes in what its peers wrote, without a network.",
        detail: """
            Three peers write fields drawn at random of so many documents, in the same process. What they send is kept, and
            then given to a node that starts empty: first a put for each document, then the writes, which are measured.
            Needs no cluster and opens no socket; a million documents and writes take about 1.5 GiB.
            """,
        examples: [
            ("bench merge", "10,000 documents, in the frames that bring a newcomer up to date"),
            ("bench merge --push", "one write in each frame, as live traffic comes"),
            ("bench merge --documents 1000000", "what does not fit into the processor's cache"),
        ])

    static var flags: [Flag<Self>] {
        [
            .value(
                "documents", "COUNT", \.documents, "Documents, of four fields each", default: "10000", variable: false,
                Read.integer(1...2_000_000)),
            .value(
                "facts", "COUNT", \.facts, "Writes to measure", default: "1000000", variable: false,
                Read.integer(1...5_000_000)),
            .value(
                "repeats", "COUNT", \.repeats, "Nodes that take all of it in, one after the other", default: "3",
                variable: false, Read.integer(1...100)),
            .toggle("push", \.push, "One write in each frame instead of 128 KiB of them"),
            .toggle("json", \.json, "Print the result as JSON"),
        ]
    }
}
