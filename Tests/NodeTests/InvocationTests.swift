import Foundation
import NodeCore
import Testing

@testable import Node

private func read(_ line: String, _ environment: [String: String] = [:]) throws(UsageError) -> Invocation {
    try Invocation.parse(line.split(separator: " ").map(String.init), .init(environment: environment))
}

private func printed(_ line: String) -> String? {
    guard case .print(let text) = try? read(line) else { return nil }
    return text
}

private func refusal(_ line: String, _ environment: [String: String] = [:]) -> UsageError? {
    do throws(UsageError) {
        _ = try read(line, environment)
        return nil
    } catch {
        return error
    }
}

@Suite("The command line")
struct InvocationTests {
    @Test("Each command has help with its flags, their variables and an example; lines fit 120 columns")
    func help() throws {
        for page in Invocation.pages {
            let text = try #require(printed("\(page.name) --help"))
            #expect(text.hasPrefix(page.summary))
            #expect(text.contains("usage: hypha \(page.name) ") || text.contains("usage: hypha \(page.name)\n"))
            #expect(text.contains("\nexamples:\n  hypha \(page.name)"))
            #expect(text.split(separator: "\n").allSatisfy { $0.count <= 120 })
            #expect(printed("help \(page.name)") == text && printed("\(page.name) -h") == text)
            #expect(try #require(printed("--help")).contains("\n  \(page.name) "))
        }
        let serve = try #require(printed("serve --help"))
        for flag in ServeOptions.flags where !flag.row.isHidden {
            #expect(serve.contains("\n  \(flag.row.usage) "))
            #expect(serve.contains(" \(flag.row.variable) ") == flag.row.hasVariable)
        }
        #expect(!serve.contains("exit-with-stdin"))
        #expect(printed("--version") == "hypha \(NodeCore.version)\n")
    }

    @Test("A flag's column is aligned whatever the length of the others")
    func alignment() throws {
        let lines = try #require(printed("emit --help")).split(separator: "\n").filter { $0.hasPrefix("  --") }
        let columns = zip(lines, EmitOptions.flags).map { line, flag in
            line.range(of: flag.row.summary).map { line.distance(from: line.startIndex, to: $0.lowerBound) }
        }
        #expect(lines.count == EmitOptions.flags.count && Set(columns).count == 1 && columns.first != .some(nil))
    }

    @Test("An unknown command is told with the nearest, or with all")
    func unknown() {
        #expect(refusal("sreve")?.message == "'sreve' is not a command; did you mean serve?")
        #expect(refusal("emitt --type x")?.message == "'emitt' is not a command; did you mean emit?")
        #expect(
            refusal("xyzzy")?.message.hasSuffix("serve, cluster, members, emit, signals, events, watch, data, bench")
                == true)
        #expect(refusal("")?.message.hasPrefix("a command is missing") == true)
        #expect(
            refusal("bench fan")?.message
                == "bench: expected post, fanout or merge, not 'fan'; did you mean fanout?")
        #expect(refusal("members --jsn")?.command == "members")
    }

    @Test("Clients take the node from --node or HYPHA_NODE, as URL or host:port")
    func node() throws {
        let rows: [(String, [String: String], String?)] = [
            ("members", [:], "http://127.0.0.1:5000"),
            ("members --node http://10.0.0.5:5001/", [:], "http://10.0.0.5:5001"),
            ("members --node [::1]:5001", ["HYPHA_NODE": "b:1"], "http://[::1]:5001"),
            ("members --node http://hypha.lan", [:], "http://hypha.lan:80"),
            ("members", ["HYPHA_NODE": "b:1"], "http://b:1"), ("members --node https://a:1", [:], nil),
            ("members --node ftp://a:1", [:], nil), ("members --node a", [:], nil), ("members --node a:0", [:], nil),
            ("members --node http://a:1/path", [:], nil),
        ]
        for (line, environment, expected) in rows {
            guard case .members(let options)? = try? read(line, environment) else {
                #expect(expected == nil, "\(line)")
                continue
            }
            #expect(options.access.node.description == expected, "\(line)")
        }
    }

    @Test("emit makes the event of its flags; value and pattern go into the payload, over what is there")
    func emit() throws {
        let line = [
            "emit", "--type", "reward", "--scope", "ui.login", "--agent", "a1", "--parent", "p1", "--parent", "p,2",
            "--payload", #"{"value":1,"why":"x"}"#, "--value", "0.50", "--pattern", "fast", "--id",
            "9b2f6c1e-5f0a-4d59-9a3e-0c6f1d2b7a48",
        ]
        guard case .emit(let options) = try Invocation.parse(line, .init(environment: ["HYPHA_TRACE": "t9"])) else {
            Issue.record("not an emit")
            return
        }
        #expect(
            String(decoding: options.event(freshTrace: "t").encoded(), as: UTF8.self)
                == #"{"id":"9b2f6c1e-5f0a-4d59-9a3e-0c6f1d2b7a48","type":"reward","scope":"ui.login","trace_id":"t9","#
                + #""agent_id":"a1","parent_ids":["p1","p,2"],"payload":{"why":"x","value":0.50,"pattern":"fast"}}"#)
    }

    @Test("emit says what is missing or wrong before it asks a node")
    func emitMistakes() {
        let start = "emit --type reward --scope s --agent a "
        #expect(refusal("emit --agent a")?.message.hasPrefix("--type and --scope are missing; for example") == true)
        #expect(refusal("emit --type rewrad")?.message.hasSuffix("not 'rewrad'; did you mean 'reward'?") == true)
        #expect(refusal(start + "--payload [1]")?.message.contains("expected a JSON object, for example") == true)
        #expect(
            refusal(start + "--payload {")?.message
                .contains("a JSON object (the text ends inside an object or array at byte 1)") == true)
        #expect(refusal(start + "--value x")?.message == "--value: expected a number, for example 0.5, not 'x'")
        #expect(refusal(start + "--id 12")?.message.contains("expected a UUID") == true)
        #expect(refusal("events --scope a --id b")?.message == "--scope and --id cannot go together; choose one")
    }

    @Test("cluster gives every node its own ports and all the others to join, and tries the flags behind -- at once")
    func cluster() throws {
        guard case .cluster(let options) = try read("cluster --nodes 3 --http-port 6000 -- --decay 0.9") else {
            Issue.record("not a cluster")
            return
        }
        #expect(
            options.arguments(1).joined(separator: " ")
                == "serve --name node-2 --http 127.0.0.1:6001 --gossip 127.0.0.1:7947 --profile fast --exit-with-stdin "
                + "--join 127.0.0.1:7946,127.0.0.1:7948 --decay 0.9")
        for index in 0..<3 {
            guard case .serve(let serve) = try Invocation.parse(options.arguments(index), .init()) else {
                Issue.record("not a serve")
                return
            }
            #expect(
                serve.exitWithStdin && serve.decay == 0.9 && serve.join.count == 2 && !serve.join.contains(serve.gossip)
            )
        }
        guard case .cluster(let durable) = try read("cluster --data d/ -- --log-age 2h") else {
            Issue.record("not a cluster")
            return
        }
        #expect(durable.arguments(2).joined(separator: " ").contains(" --data d/node-3 --join "))
        let rows = [
            ("cluster -- --data d", "--data after '--' is set by hypha cluster for each node"),
            ("cluster -- --decay 9", "--decay: expected a number above 0 and at most 0.995, not '9'"),
            ("cluster -- --name x", "--name after '--' is set by hypha cluster for each node"),
            ("cluster --nodes 0", "--nodes: expected a whole number from 1 to 32, not '0'"),
            (
                "cluster --http-port 65534",
                "--http-port: 3 nodes from port 65534 need ports above 65535; choose at most 65533"
            ),
            (
                "cluster --gossip-port 5002",
                "--http-port 5000 and --gossip-port 5002 overlap for 3 nodes; leave at least 3 between them"
            ),
        ]
        for (line, message) in rows { #expect(refusal(line)?.message == message) }
    }

    @Test("The data commands take their directories as words, and say which is missing or too many")
    func data() throws {
        guard case .dataBackup(let backup) = try read("data backup d t"),
            case .dataRestore(let restore) = try read("data restore s --accept-loss d"),
            case .dataShow(let show) = try read("data show --json d"),
            case .dataCheck(let check) = try read("data check d")
        else {
            Issue.record("not the data commands")
            return
        }
        #expect(backup.directory == "d" && backup.target == "t")
        #expect(restore.source == "s" && restore.directory == "d" && restore.acceptsLoss)
        #expect(show.directory == "d" && show.json && check.directory == "d")
        let rows = [
            ("data", "data: expected check, show, backup or restore"),
            ("data chekc d", "data: expected check, show, backup or restore, not 'chekc'; did you mean check?"),
            ("data check", "DIR is missing; usage: hypha data check DIR"),
            ("data backup d", "TARGET is missing; usage: hypha data backup DIR TARGET"),
            ("data check d e", "unexpected argument 'e'; usage: hypha data check DIR"),
            ("data check --json d", "--json is not a flag of hypha data check; it takes none"),
            (
                "data restore --acept-loss s d",
                "--acept-loss is not a flag of hypha data restore; did you mean --accept-loss?"
            ),
        ]
        for (line, message) in rows { #expect(refusal(line)?.message == message) }
        let help = try #require(printed("data backup --help"))
        #expect(help.contains("\n  DIR     A node's directory\n") && !help.contains("flags"))
        #expect(printed("data --help")?.contains("usage: hypha data restore [flags] SOURCE DIR\n") == true)
    }

    @Test("Benchmarks take several nodes and bounded sizes")
    func bench() throws {
        guard case .benchFanout(let options) = try read("bench fanout --node a:1,b:2 --rate 200 --seconds 0.5") else {
            Issue.record("not a bench")
            return
        }
        #expect(options.load.nodes.map(\.description) == ["http://a:1", "http://b:2"])
        #expect(
            options.rate == 200 && options.load.seconds == 0.5 && options.subscribers == 1_000 && options.window == 32)
        #expect(refusal("bench post --connections 0")?.message.hasSuffix("from 1 to 10000, not '0'") == true)
        guard case .benchMerge(let merge) = try read("bench merge --documents 1000000 --facts 5000 --push") else {
            Issue.record("not a bench")
            return
        }
        #expect(merge.documents == 1_000_000 && merge.facts == 5_000 && merge.repeats == 3 && merge.push)
        #expect(refusal("bench merge --facts 0")?.message.hasSuffix("from 1 to 5000000, not '0'") == true)
        #expect(refusal("bench post --seconds 1e9")?.message.contains("from 0.1 to 600") == true)
    }
}
