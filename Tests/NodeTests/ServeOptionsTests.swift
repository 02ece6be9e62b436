import Gossip
import NodeCore
import Testing

@testable import Node

/// Parses with a file system of a few texts.
private func parse(
    _ arguments: [String], _ environment: [String: String] = [:], files: [String: String] = [:]
) throws(UsageError) -> ServeOptions {
    try ServeOptions.parse(arguments: arguments, environment: environment, hostName: "host") { path in
        files[path].map { .success($0) } ?? .failure(Problem(reason: "no such file or directory"))
    }
}

/// The message of the error that parsing ends with; nil if it succeeds.
private func refusal(
    _ arguments: [String], _ environment: [String: String] = [:], files: [String: String] = [:]
) -> String? {
    do throws(UsageError) {
        _ = try parse(arguments, environment, files: files)
        return nil
    } catch {
        return error.message
    }
}

@Suite("hypha serve: flags, variables, config files")
struct ServeOptionsTests {
    @Test("Without anything, everything is at its default and the name is the host's")
    func defaults() throws {
        var expected = ServeOptions()
        expected.name = "host"
        #expect(try parse([]) == expected)
        #expect(expected.http == [HostPort(host: "127.0.0.1", port: 5000)])
        #expect(expected.data.isEmpty && expected.gossip == HostPort(host: "127.0.0.1", port: 7946))
        #expect(expected.profile == .lan)
        #expect(expected.maxSkewMs == 2_000 && expected.logBytes == 1 << 30 && expected.decay == 0.95)
    }

    /// One row for every flag: what is given, and what it does to the defaults.
    static let rows: [(flag: String, text: String, change: @Sendable (inout ServeOptions) -> Void)] = [
        ("name", "ada", { $0.name = "ada" }),
        ("http", "[::1]:80", { $0.http = [HostPort(host: "::1", port: 80)] }),
        (
            "http", "127.0.0.1:1,localhost:2",
            { $0.http = [HostPort(host: "127.0.0.1", port: 1), HostPort(host: "localhost", port: 2)] }
        ),
        ("gossip", "10.0.0.7:0", { $0.gossip = HostPort(host: "10.0.0.7", port: 0) }),
        ("advertise", "node-1.lan:7946", { $0.advertise = HostPort(host: "node-1.lan", port: 7946) }),
        (
            "join", "a:1, b_c:2",
            { $0.join = [HostPort(host: "a", port: 1), HostPort(host: "b_c", port: 2)] }
        ),
        ("profile", "fast", { $0.profile = .fast }),
        ("cluster", "blue", { $0.cluster = "blue" }), ("cluster-size", "5", { $0.clusterSize = 5 }),
        ("ack-timeout", "250ms", { $0.ackTimeoutMs = 250 }), ("ack-timeout", "0ms", { $0.ackTimeoutMs = 0 }),
        ("decay", "0.995", { $0.decay = 0.995 }),
        ("max-skew", "1500ms", { $0.maxSkewMs = 1_500 }), ("clock-wait", "250ms", { $0.clockWaitMs = 250 }),
        ("clock-wait", "0ms", { $0.clockWaitMs = 0 }),
        ("data", "data/node 1", { $0.data = "data/node 1" }),
        ("log-bytes", "64MiB", { $0.logBytes = 64 << 20 }),
        ("log-events", "50000", { $0.logEvents = 50_000 }),
        ("log-age", "36h", { $0.logAgeMs = 36 * 3_600_000 }),
        ("forget-after", "30h", { $0.forgetAfterMs = 30 * 3_600_000 }),
        ("log-format", "json", { $0.logFormat = .json }),
        ("log-level", "debug", { $0.logLevel = .debug }),
    ]

    @Test("Every flag also works with =, as a variable and as a line of a file")
    func everyFlag() throws {
        let tested = Set(Self.rows.map(\.flag)).union(["config", "accept-loss", "exit-with-stdin", "test-echo"])
        #expect(tested == Set(ServeOptions.flags.map(\.row.name)), "a flag without a row here")
        for row in Self.rows {
            var expected = ServeOptions()
            expected.name = "host"
            row.change(&expected)
            let variable = "HYPHA_" + row.flag.uppercased().replacing("-", with: "_")
            #expect(try parse(["--\(row.flag)", row.text]) == expected, "--\(row.flag) \(row.text)")
            #expect(try parse(["--\(row.flag)=\(row.text)"]) == expected, "--\(row.flag)=\(row.text)")
            #expect(try parse([], [variable: row.text]) == expected, "\(variable)=\(row.text)")
            expected.config = "f"
            let file = "# \(row.flag)\n\n  \(row.flag) = \(row.text)   # why\r\n"
            #expect(try parse(["--config", "f"], files: ["f": file]) == expected, "\(file)")
        }
    }

    @Test("What is said of the logs is what replication is told, and without it nothing goes by number or age")
    func retention() throws {
        let given = try parse(["--log-bytes", "64MiB", "--log-events", "5000", "--log-age", "2m", "--max-skew", "3s"])
        #expect(given.replication.retention == .init(bytes: 64 << 20, entries: 5_000, ageMs: 120_000))
        #expect(given.replication.maxSkewMs == 3_000)
        let none = try parse([]).replication.retention
        #expect(none.bytes == 1 << 30)
        #expect(none.entries >= 1 << 40 && none.ageMs >= 10 * 365 * 86_400_000)
    }

    @Test("A flag is stronger than a variable, that than a line, that than the default; lists replace, not add")
    func precedence() throws {
        let files = ["f": "name = file\nprofile = fast\njoin = f:1\njoin = g:2\n"]
        let environment = ["HYPHA_NAME": "variable", "HYPHA_PROFILE": "", "HYPHA_CONFIG": "f"]
        let options = try parse(
            ["--join", "a:1", "--join", "b:2", "--name", "x", "--name", "flag"], environment, files: files)
        #expect(options.name == "flag", "and the last of two counts")
        #expect(options.join.map(\.host) == ["a", "b"])
        #expect(options.profile == .fast, "an empty variable is not set")
        let weaker = try parse([], environment, files: files)
        #expect(weaker.name == "variable")
        #expect(weaker.join.map(\.host) == ["f", "g"])
    }

    @Test("The lifeline of hypha cluster is a flag only, and no variable or file can set it")
    func lifeline() throws {
        #expect(try parse(["--exit-with-stdin"]).exitWithStdin)
        #expect(try parse(["--test-echo"]).testEcho)
        #expect(try !parse([]).testEcho)
        #expect(try parse([], ["HYPHA_EXIT_WITH_STDIN": "true"]).exitWithStdin == false)
        #expect(refusal(["--config", "f"], files: ["f": "exit-with-stdin = true"])?.contains("unknown key") == true)
    }

    @Test("To accept a loss is said once, with the directory it is about: no variable or file can")
    func acceptLoss() throws {
        #expect(try parse(["--data", "d", "--accept-loss"]).acceptsLoss)
        #expect(refusal(["--accept-loss"]) == "--accept-loss is for a damaged --data directory; name it")
        #expect(try parse(["--data", "d"], ["HYPHA_ACCEPT_LOSS": "true"]).acceptsLoss == false)
        #expect(refusal(["--config", "f"], files: ["f": "accept-loss = true"])?.contains("unknown key") == true)
    }

    /// What is given, and the whole message that comes of it.
    static let refusals: [(arguments: [String], environment: [String: String], file: String, message: String)] = [
        (["--htpp", "x"], [:], "", "--htpp is not a flag of hypha serve; did you mean --http?"),
        (["-join", "x"], [:], "", "-join is not a flag of hypha serve; did you mean --join?"),
        (["--log", "x"], [:], "", "--log is not a flag of hypha serve; did you mean --log-bytes?"),
        (
            ["--exit"], [:], "",
            "--exit is not a flag of hypha serve; the flags are --name --http --gossip --advertise --join --profile --config --data --accept-loss --cluster --cluster-size --decay --max-skew --log-bytes --log-events --log-age --forget-after --clock-wait --ack-timeout --log-format --log-level"
        ),
        (["now"], [:], "", "unexpected argument 'now'; every setting is a flag, for example --name NAME"),
        (["--", "x"], [:], "", "unexpected arguments after '--': x"),
        (["--name"], [:], "", "--name needs a value: --name NAME"),
        (["--name", "--http", "x"], [:], "", "--name needs a value: --name NAME"),
        (["--name", "a b"], [:], "", "--name: expected a name of 1 to 64 bytes without blanks, not 'a b'"),
        (
            ["--http", "5000"], [:], "",
            "--http: expected HOST:PORT, for example 127.0.0.1:5000 or [::1]:5000, not '5000'"
        ),
        (["--http", "a:1,a:1"], [:], "", "--http: a:1 is given twice"),
        (
            ["--http", "a:1", "--gossip", "a:1"], [:], "",
            "--http and --gossip are both a:1; they are two services, give each its own port"
        ),
        (
            ["--join", "a:0"], [:], "",
            "--join: expected HOST:PORT, for example 127.0.0.1:5000 or [::1]:5000 with a port above 0, not 'a:0'"
        ),
        (
            ["--join", "a:1,,b:1"], [:], "",
            "--join: expected HOST:PORT, for example 127.0.0.1:5000 or [::1]:5000 with a port above 0, not 'a:1,,b:1'"
        ),
        ([], ["HYPHA_PROFILE": "fats"], "", "HYPHA_PROFILE: expected lan or fast, not 'fats'; did you mean 'fast'?"),
        (["--decay", "1"], [:], "", "--decay: expected a number above 0 and at most 0.995, not '1'"),
        (["--decay", "nan"], [:], "", "--decay: expected a number above 0 and at most 0.995, not 'nan'"),
        (
            ["--max-skew", "2"], [:], "",
            "--max-skew: expected a duration with its unit, such as 500ms, 2s, 1.5m or 1h, not '2'"
        ),
        (["--max-skew", "2h"], [:], "", "--max-skew: expected 10ms to 1h, not '2h'"),
        ([], ["HYPHA_CLOCK_WAIT": "2m"], "", "HYPHA_CLOCK_WAIT: expected 0ms to 1m, not '2m'"),
        (
            ["--log-bytes", "1GiG"], [:], "",
            "--log-bytes: expected a size such as 512MiB, 1GiB, 100MB or a number of bytes, not '1GiG'"
        ),
        (["--log-bytes", "1"], [:], "", "--log-bytes: expected 1MiB to 1TiB, not '1'"),
        (
            ["--log-events", "999"], [:], "",
            "--log-events: expected a whole number from 1000 to 1099511627776, not '999'"
        ),
        (
            ["--log-events", "1e6"], [:], "",
            "--log-events: expected a whole number from 1000 to 1099511627776, not '1e6'"
        ),
        (["--log-age", "59s"], [:], "", "--log-age: expected 1m to 87600h, not '59s'"),
        (
            ["--log-age", "7"], [:], "",
            "--log-age: expected a duration with its unit, such as 500ms, 2s, 1.5m or 1h, not '7'"
        ),
        (["--forget-after", "23h"], [:], "", "--forget-after: expected 24h to 8760h, not '23h'"),
        ([], ["HYPHA_FORGET_AFTER": "0s"], "", "HYPHA_FORGET_AFTER: expected 24h to 8760h, not '0s'"),
        (
            ["--clock-wait", "-1s"], [:], "",
            "--clock-wait: expected a duration with its unit, such as 500ms, 2s, 1.5m or 1h, not '-1s'"
        ),
        (
            ["--log-level", "warn"], [:], "",
            "--log-level: expected debug, info, warning or error, not 'warn'; did you mean 'warning'?"
        ),
        (["--config", "gone"], [:], "", "--config: cannot read gone: no such file or directory"),
        ([], ["HYPHA_CONFIG": "gone"], "", "HYPHA_CONFIG: cannot read gone: no such file or directory"),
        (["--config", "f"], [:], "\nname\n", "f:2: expected 'key = value', not 'name'"),
        (["--config", "f"], [:], "nmae = x", "f:1: unknown key 'nmae'; did you mean 'name'?"),
        (
            ["--config", "f"], [:], "config = g",
            "f:1: unknown key 'config'; the keys are name, http, gossip, advertise, join, profile, data, cluster, cluster-size, decay, max-skew, log-bytes, log-events, log-age, forget-after, clock-wait, ack-timeout, log-format, log-level"
        ),
        (
            ["--config", "f"], [:], "# a\ndecay = much",
            "f:2: decay: expected a number above 0 and at most 0.995, not 'much'"
        ),
        (["--config", "f"], [:], "name = a\nname = b", "f:2: 'name' was already set in line 1"),
    ]

    @Test(
        "A mistake is told with its place, what was expected and what may have been meant", arguments: refusals.indices)
    func mistakes(_ index: Int) {
        let row = Self.refusals[index]
        #expect(refusal(row.arguments, row.environment, files: ["f": row.file]) == row.message)
    }

    @Test("Listening beyond this machine is warned about, and so is a variable that is nearly one of ours")
    func warnings() throws {
        #expect(
            try parse([]).warnings(environment: ["HYPHA_JOIN": "a:1", "HYPHA_PORT": "tcp://x", "HYPHA_NODE": "x"])
                .isEmpty)
        #expect(try parse(["--http", "localhost:1,[::1]:2,127.9.9.9:3"]).warnings(environment: [:]).isEmpty)
        for exposed in ["0.0.0.0:5000", "10.0.0.1:5000", "[::]:5000", "127.evil.org:1"] {
            let warning = try #require(try parse(["--http", exposed]).warnings(environment: [:]).first)
            #expect(warning.hasPrefix("listening on \(exposed), beyond this machine: nothing is authenticated"))
        }
        #expect(try parse(["--gossip", "10.0.0.1:7946"]).warnings(environment: [:]).count == 1)
        #expect(
            try parse([]).warnings(environment: ["HYPHA_JION": "a:1"])
                == ["HYPHA_JION is not a setting and does nothing; did you mean HYPHA_JOIN?"])
    }
}
