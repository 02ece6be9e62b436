internal import Gossip

/// Everything `hypha cluster` can be told.
struct ClusterOptions: CommandOptions, Equatable, Sendable {
    /// How many nodes.
    var nodes = 3
    /// The first node's port for clients; the next nodes take the ports above it.
    var httpPort = 5000
    /// The first node's port for peers; the next nodes take the ports above it.
    var gossipPort = 7946
    /// `lan` or `fast`.
    var profile = "fast"
    /// The directory with one directory for each node; empty for nodes in memory.
    var data = ""
    /// What each `hypha serve` gets besides.
    var serveArguments: [String] = []

    static let page = HelpPage(
        name: "cluster", summary: "Run a cluster on this machine, one process for each node, until Ctrl-C.",
        detail: """
            Logs go to standard error with the node's name in front. Once every node sees all others, one line on standard
            output says `ready:` and the URLs. What follows -- goes to each node: see hypha serve --help.
            """,
        tail: " [-- flags of serve]",
        examples: [
            ("cluster", "three nodes: ports 5000 to 5002, and 7946 to 7948 for themselves"),
            ("cluster --nodes 5 --http-port 6000", "five, elsewhere"),
            ("cluster --data data", "everything is kept: in data/node-1, data/node-2, …"),
            ("cluster -- --log-level debug --decay 0.9", "the same settings for all"),
        ])

    static var flags: [Flag<Self>] {
        [
            .value("nodes", "COUNT", \.nodes, "How many nodes", default: "3", Read.integer(1...32)),
            .value(
                "http-port", "PORT", \.httpPort, "First port for clients, then upwards", default: "5000",
                Read.integer(1...65_535)),
            .value(
                "gossip-port", "PORT", \.gossipPort, "First port for peers, then upwards", default: "7946",
                Read.integer(1...65_535)),
            .value(
                "profile", "lan|fast", \.profile, "Times of failure detection", default: "fast",
                Read.choice(ServeOptions.profiles.map { ($0.0, $0.0) })),
            .value(
                "data", "DIR", \.data, "Keep everything: node-1 in DIR/node-1, and so on", default: "in memory",
                Read.text),
        ]
    }

    func check() throws(UsageError) {
        for (flag, port) in [("http-port", httpPort), ("gossip-port", gossipPort)] where port + nodes - 1 > 65_535 {
            throw UsageError(
                message: "--\(flag): \(nodes) nodes from port \(port) need ports above 65535; "
                    + "choose at most \(65_536 - nodes)", command: "cluster")
        }
        if abs(httpPort - gossipPort) < nodes {
            throw UsageError(
                message: "--http-port \(httpPort) and --gossip-port \(gossipPort) overlap for \(nodes) nodes; "
                    + "leave at least \(nodes) between them", command: "cluster")
        }
    }

    /// The URL where clients reach a node, counted from 0.
    func url(_ index: Int) -> NodeURL { NodeURL(target: HostPort(host: "127.0.0.1", port: UInt16(httpPort + index))) }
    /// The name of a node, counted from 0.
    func name(_ index: Int) -> String { "node-\(index + 1)" }

    /// The arguments of one node's process, without the program's name.
    func arguments(_ index: Int) -> [String] {
        var list = [
            "serve", "--name", name(index), "--http", url(index).target.description, "--gossip",
            "127.0.0.1:\(gossipPort + index)", "--profile", profile, "--exit-with-stdin",
        ]
        if !data.isEmpty { list += ["--data", "\(data.hasSuffix("/") ? data : data + "/")\(name(index))"] }
        let others = (0..<nodes).filter { $0 != index }.map { "127.0.0.1:\(gossipPort + $0)" }
        if !others.isEmpty { list += ["--join", others.joined(separator: ",")] }
        return list + serveArguments
    }

    /// Reads the flags, and tries what follows `--` as `serve` will, so that a mistake there is told at once.
    static func parse(arguments: [String], environment: [String: String]) throws(UsageError) -> ClusterOptions {
        var reader = ArgumentReader<ClusterOptions>()
        try reader.read(arguments: arguments)
        reader.read(environment: environment)
        var options = try reader.settings()
        options.serveArguments = reader.rest ?? []
        var trial = ArgumentReader<ServeOptions>()
        try trial.read(arguments: options.serveArguments)
        for name in ["name", "http", "gossip", "advertise", "join", "profile", "data", "exit-with-stdin"] {
            if trial.text(of: name) != nil {
                throw UsageError(
                    message: "--\(name) after '--' is set by hypha cluster for each node", command: "cluster")
            }
        }
        _ = try trial.settings()
        return options
    }
}
