internal import Gossip
internal import NodeCore

/// Everything `hypha serve` can be told.
struct ServeOptions: CommandOptions, Equatable, Sendable {
    /// A name for people.
    var name = ""
    /// Where clients connect.
    var http = [HostPort(host: "127.0.0.1", port: 5000)]
    /// Where peers connect; UDP and TCP share the port.
    var gossip = HostPort(host: "127.0.0.1", port: 7946)
    /// Where peers reach this node; nil for the address that a seed sees.
    var advertise: HostPort?
    /// Peers to ask for the cluster.
    var join: [HostPort] = []
    /// The times of the gossip layer.
    var profile = Profile.lan
    /// The file of settings that was read, if any.
    var config = ""
    /// The directory that keeps the log; empty for a node in memory.
    var data = ""
    /// Go on although something in the directory is damaged that no known peer could have.
    var acceptsLoss = false
    /// The cluster's name.
    var cluster = "hypha"
    /// How many nodes the cluster is meant to have, for `ack=majority`.
    var clusterSize = 1
    /// The decay λ of signals, per minute.
    var decay = 0.95
    /// The most a peer's clock may be ahead, in milliseconds.
    var maxSkewMs: UInt64 = 2_000
    /// The most that the logs may take, in bytes.
    var logBytes = 1 << 30
    /// The most entries that the logs may hold.
    var logEvents = 1 << 40
    /// The age at which entries leave the logs, in milliseconds.
    var logAgeMs: UInt64 = 10 * 365 * 86_400_000
    /// How long a dead durable member is waited for, in milliseconds.
    var forgetAfterMs: UInt64 = 72 * 3_600_000
    /// How long a request waits for what its `Hypha-Clock` names, in milliseconds.
    var clockWaitMs: UInt64 = 2_000
    /// How long a write waits for its acknowledgement level, in milliseconds.
    var ackTimeoutMs: UInt64 = 5_000
    /// How log lines look.
    var logFormat = Log.Format.text
    /// The least level that is logged.
    var logLevel = LogLevel.info
    /// The node ends in good order when its standard input ends: `hypha cluster` holds the other end, so that no child
    /// outlives it. Such a node leaves its name out of text logs, where the parent puts it in front.
    var exitWithStdin = false
    /// Serve `/ws/echo`, which sends back what it is sent, for conformance tests of the WebSocket code.
    var testEcho = false

    static let page = HelpPage(
        name: "serve", summary: "Run one node.",
        detail: """
            A flag is stronger than its variable, that than a line of the --config file, that than the default.
            A config file has lines like `join = 10.0.0.5:7946`: the names of the flags without dashes in front.
            Port 0 lets the system choose. SIGTERM leaves the cluster in good order and exits 0.
            """,
        examples: [
            ("serve", "one node, for this machine only"),
            ("serve --http 127.0.0.1:5001 --gossip 127.0.0.1:7947 --join 127.0.0.1:7946", "a second one beside it"),
            ("serve --data data/node-1", "restarts where it stopped"),
            ("serve --http 0.0.0.0:5000 --gossip 10.0.0.7:7946 --join 10.0.0.5:7946", "a node on a LAN"),
        ])

    static let profiles: [(String, Profile)] = [("lan", .lan), ("fast", .fast)]

    static var flags: [Flag<Self>] {
        [
            .value("name", "NAME", \.name, "Name for people", default: "this host's name", Read.name),
            .list("http", "HOST:PORT", \.http, "Where clients connect", default: "127.0.0.1:5000", Read.hostPort),
            .value(
                "gossip", "HOST:PORT", \.gossip, "Where peers connect, UDP and TCP", default: "127.0.0.1:7946",
                Read.hostPort),
            .value(
                "advertise", "HOST:PORT", \.advertise, "Where peers reach this node",
                default: "the address a peer sees",
                Read.reachableHostPort),
            .list("join", "HOST:PORT,…", \.join, "Peers of the cluster to join", Read.reachableHostPort),
            .value(
                "profile", "lan|fast", \.profile, "Times of failure detection; fast: a tenth of lan's", default: "lan",
                Read.choice(profiles)),
            .value("config", "FILE", \.config, "Settings as `key = value` lines, # for comments", Read.text),
            .value(
                "data", "DIR", \.data, "Keep everything in this directory, made if missing", default: "in memory",
                Read.text),
            .toggle(
                "accept-loss", \.acceptsLoss, "Start although --data is damaged and no peer is known", variable: false),
            .value("cluster", "NAME", \.cluster, "Peers of another cluster are refused", default: "hypha", Read.name),
            .value(
                "cluster-size", "COUNT", \.clusterSize, "How many nodes ack=majority takes for granted", default: "1",
                Read.integer(1...1_024)),
            .value(
                "decay", "FACTOR", \.decay, "What a signal keeps each minute; the same on all nodes", default: "0.95",
                Read.decimal("a number above 0 and at most 0.995") { $0 > 0 && $0 <= 0.995 }),
            .value(
                "max-skew", "DURATION", \.maxSkewMs, "How far a peer's clock may be ahead", default: "2s",
                Read.duration(10...3_600_000)),
            .value(
                "log-bytes", "SIZE", \.logBytes, "Memory for events; the oldest go first", default: "1GiB",
                Read.size(1 << 20...1 << 40)),
            .value(
                "log-events", "COUNT", \.logEvents, "The most events and other facts kept", default: "no bound",
                Read.integer(1_000...1 << 40)),
            .value(
                "log-age", "DURATION", \.logAgeMs, "How long events are kept", default: "no bound",
                Read.duration(60_000...10 * 365 * 86_400_000)),
            .value(
                "forget-after", "DURATION", \.forgetAfterMs, "How long a dead durable member is waited for",
                default: "72h", Read.duration(24 * 3_600_000...365 * 86_400_000)),
            .value(
                "clock-wait", "DURATION", \.clockWaitMs, "How long a request waits for what its Hypha-Clock names",
                default: "2s", Read.duration(0...60_000)),
            .value(
                "ack-timeout", "DURATION", \.ackTimeoutMs, "How long a write waits for its ack level", default: "5s",
                Read.duration(0...60_000)),
            .value(
                "log-format", "text|json", \.logFormat, "How log lines look", default: "text",
                Read.choice(Read.logFormats)),
            .value(
                "log-level", "LEVEL", \.logLevel, "debug, info, warning or error", default: "info",
                Read.choice(Read.logLevels)),
            .toggle("exit-with-stdin", \.exitWithStdin, "End when standard input ends", hidden: true, variable: false),
            .toggle("test-echo", \.testEcho, "Serve /ws/echo, for tests", hidden: true, variable: false),
        ]
    }

    /// How much of the logs is kept, and how far a peer's clock may be ahead.
    var replication: Replication.Settings {
        Replication.Settings(
            retention: FactLog.Retention(bytes: logBytes, entries: logEvents, ageMs: logAgeMs), maxSkewMs: maxSkewMs)
    }

    func check() throws(UsageError) {
        if let twice = http.indices.first(where: { http[$0].port != 0 && http[..<$0].contains(http[$0]) }) {
            throw UsageError(message: "--http: \(http[twice]) is given twice", command: "serve")
        }
        if gossip.port != 0, let same = http.first(where: { $0 == gossip }) {
            throw UsageError(
                message: "--http and --gossip are both \(same); they are two services, give each its own port",
                command: "serve")
        }
        if acceptsLoss, data.isEmpty {
            throw UsageError(message: "--accept-loss is for a damaged --data directory; name it", command: "serve")
        }
    }

    /// Reads flags, `HYPHA_…` variables and the config file. `readFile` gives the text of a file or the reason why not.
    static func parse(
        arguments: [String], environment: [String: String], hostName: String = "hypha",
        readFile: (String) -> Result<String, Problem>
    ) throws(UsageError) -> ServeOptions {
        var reader = ArgumentReader<ServeOptions>()
        try reader.read(arguments: arguments)
        if let rest = reader.rest, !rest.isEmpty {
            throw UsageError(
                message: "unexpected arguments after '--': \(rest.joined(separator: " "))", command: "serve")
        }
        reader.read(environment: environment)
        if let config = reader.text(of: "config") {
            switch readFile(config.text) {
            case .success(let text): try reader.read(file: text, path: config.text)
            case .failure(let problem):
                throw UsageError(
                    message: "\(config.origin): cannot read \(config.text): \(problem.reason)", command: "serve")
            }
        }
        var options = try reader.settings()
        if options.name.isEmpty { options.name = hostName }
        return options
    }

    /// What to log before anything else: what is allowed, but easily meant otherwise.
    func warnings(environment: [String: String]) -> [String] {
        var found: [String] = []
        let exposed = (http + [gossip]).filter { !$0.isLoopback }
        if !exposed.isEmpty {
            let list = exposed.map(\.description).joined(separator: " and ")
            found.append(
                "listening on \(list), beyond this machine: nothing is authenticated or encrypted yet, so whoever reaches "
                    + "it can read and write everything; keep it inside a network you trust")
        }
        let known = Self.flags.filter(\.row.hasVariable).map(\.row.variable) + ["HYPHA_NODE", "HYPHA_JSON"]
        for variable in environment.keys.sorted() where variable.hasPrefix("HYPHA_") && !known.contains(variable) {
            if let meant = nearest(to: variable, in: known), edits(from: variable, to: meant) <= 2 {
                found.append("\(variable) is not a setting and does nothing; did you mean \(meant)?")
            }
        }
        return found
    }
}

/// Something the operating system or another program did not do, and why.
struct Problem: Error, Equatable, CustomStringConvertible {
    /// In words.
    let reason: String
    var description: String { reason }
}
