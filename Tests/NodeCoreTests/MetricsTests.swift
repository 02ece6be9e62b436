import CRDT
import Foundation
import Gossip
import Testing

@testable import NodeCore

/// A family of metrics: what the page says of it, or what a node shows.
private struct Family: Hashable, Comparable, CustomStringConvertible {
    let name: String
    let kind: String
    let labels: [String]

    static func < (a: Self, b: Self) -> Bool { a.name < b.name }
    var description: String { "\(name) (\(kind), labels: \(labels.isEmpty ? "none" : labels.joined(separator: ", ")))" }
}

/// The rows of `docs/metrics.md`.
private func documented() throws -> [Family] {
    let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()
    let page = try String(contentsOf: root.appending(path: "docs/metrics.md"), encoding: .utf8)
    return page.split(separator: "\n").filter { $0.hasPrefix("| `hypha_") }.map { row in
        let cells = row.split(separator: "|", omittingEmptySubsequences: false).map {
            $0.trimmingCharacters(in: .whitespaces)
        }
        let labels = cells[3].split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
        return Family(name: cells[1].trimmingCharacters(in: ["`"]), kind: cells[2], labels: labels)
    }
}

/// What a text shows; labels are those of the samples.
private func shown(_ text: String) -> [Family] {
    var kinds: [(name: String, kind: String)] = []
    var labels: [String: [String]] = [:]
    for line in text.split(separator: "\n") {
        let words = line.split(separator: " ", maxSplits: 3)
        if line.hasPrefix("# TYPE ") { kinds.append((String(words[2]), String(words[3]))) }
        guard !line.hasPrefix("#"), let name = kinds.last?.name, let open = line.firstIndex(of: "{") else { continue }
        let inside = line[line.index(after: open)..<line.lastIndex(of: "}")!]
        let names = inside.split(separator: ",").map { String($0.prefix { $0 != "=" }) }.filter { $0 != "le" }
        labels[name] = names
    }
    return kinds.map { Family(name: $0.name, kind: $0.kind, labels: labels[$0.name] ?? []) }
}

@Suite("Metrics")
struct MetricsTests {
    /// All that the shell can measure, with at least one sample of everything that has labels.
    private func everything(_ links: [LinkID]) -> ShellMetrics {
        var shell = ShellMetrics()
        shell.disk = DiskHealth()
        shell.clients.http.answered(.eventsWrite, status: 201, since: 5, turn: 5)
        shell.clients.http.turnEnded(now: 105, took: 100)
        shell.links.links = links.map {
            .init(id: $0, bytesIn: 1, bytesOut: 2, framesIn: 3, framesOut: 4, unsentBytes: 5)
        }
        return shell
    }

    @Test("The page names every family that a node shows, with its type and labels, and no other")
    func page() throws {
        var store = try StoreWorld()
        // A member with a link: what is told by peer needs one.
        var world = NodeWorld(clocksAheadMs: [0, 0])
        world.link(0, 1)
        world.deliver()
        let linked = shown(world.ask(0, .metrics(everything(world.nodes[0].cluster.mesh.linkIDs))).text)
        store.give(.request(RequestID(900), .metrics(everything([]))))
        let durable = shown(try #require(store.replies.last?.text))
        let byPeer = Dictionary(uniqueKeysWithValues: linked.map { ($0.name, $0.labels) })
        let families = durable.map { Family(name: $0.name, kind: $0.kind, labels: byPeer[$0.name] ?? $0.labels) }
        #expect(Set(families.map(\.name)).count == families.count, "a family is written twice")
        #expect(families.contains { $0.labels == ["peer", "replica"] }, "no peer was linked, so nothing was compared")

        let page = try documented()
        #expect(Set(page.map(\.name)).count == page.count, "docs/metrics.md has two rows for one family")
        for missing in Set(families).subtracting(page).sorted() {
            Issue.record(
                "a node shows \(missing); give it a row in docs/metrics.md (name, type, labels), or correct it")
        }
        for stray in Set(page).subtracting(families).sorted() {
            let advice = "correct the row, or write the family where its noun is (Sources/Node/Core/Metrics)"
            Issue.record("docs/metrics.md names \(stray), which no node shows like that; \(advice)")
        }
    }

    @Test("A node in memory shows nothing of a disk")
    func inMemory() throws {
        var world = NodeWorld()
        let names = Set(shown(world.ask(0, .metrics(.init())).text).map(\.name))
        #expect(names.contains("hypha_events") && !names.contains("hypha_fsync_seconds"))
        #expect(!names.contains("hypha_commit_seconds"))
    }

    @Test("A value falls into the bucket of the next power of two, and buckets add up")
    func buckets() {
        let rows: [(UInt64, Int)] = [
            (0, 0), (1, 0), (16, 0), (17, 1), (32, 1), (33, 2), (1_024, 6), (1_025, 7), (1 << 23, 19),
            ((1 << 23) + 1, 20), (1 << 24, 20), (.max, 20),
        ]
        for (microseconds, bucket) in rows {
            var histogram = Histogram(.seconds)
            histogram.observe(microseconds)
            #expect(histogram.count(inBucket: bucket) == 1 && histogram.count == 1, "\(microseconds)")
            if let limit = histogram.limit(ofBucket: bucket) { #expect(microseconds <= limit) }
            if bucket > 0 { #expect(microseconds > histogram.limit(ofBucket: bucket - 1)!) }
        }
        var sizes = Histogram(.bytes)
        sizes.observe(64, times: 3)
        sizes.observe(65)
        #expect(sizes.count(inBucket: 0) == 3 && sizes.count(inBucket: 1) == 1 && sizes.sum == 257 && sizes.count == 4)
    }

    @Test("Text is as the format wants it: escapes, seconds, cumulative buckets, each family named once")
    func text() {
        var out = MetricsWriter()
        out.counter("a_total", "Back\\slash and\nline.", 3)
        out.family("b", .gauge, "With \"quotes\".")
        out.sample(["x": "a\"b\\c\nd", "y": ""], -2)
        out.sample(["x": "e", "y": "f"], 5)
        out.gauge("c_seconds", "A time.", microseconds: -1_250_001)
        var times = Histogram(.seconds)
        times.observe(16)
        times.observe(17)
        times.observe(1 << 40)
        out.family("d_seconds", .histogram, "Times.")
        out.sample(["x": "y"], times)
        let lines = String(decoding: out.bytes, as: UTF8.self).split(separator: "\n").map(String.init)
        #expect(
            lines.prefix(9) == [
                "# HELP hypha_a_total Back\\\\slash and\\nline.", "# TYPE hypha_a_total counter", "hypha_a_total 3",
                "# HELP hypha_b With \"quotes\".", "# TYPE hypha_b gauge", "hypha_b{x=\"a\\\"b\\\\c\\nd\",y=\"\"} -2",
                "hypha_b{x=\"e\",y=\"f\"} 5", "# HELP hypha_c_seconds A time.", "# TYPE hypha_c_seconds gauge",
            ])
        #expect(lines[9] == "hypha_c_seconds -1.250001")
        #expect(lines.dropFirst(12).first == "hypha_d_seconds_bucket{x=\"y\",le=\"0.000016\"} 1")
        #expect(lines.dropFirst(13).first == "hypha_d_seconds_bucket{x=\"y\",le=\"0.000032\"} 2")
        #expect(
            lines.suffix(3) == [
                "hypha_d_seconds_bucket{x=\"y\",le=\"+Inf\"} 3", "hypha_d_seconds_sum{x=\"y\"} 1099511.627809",
                "hypha_d_seconds_count{x=\"y\"} 3",
            ])
    }

    @Test("A request counts from the turn that brought it to the end of the one that answered it")
    func requestTimes() {
        var http = HTTPMetrics()
        http.answered(.events, status: 200, since: 1_000, turn: 1_000)
        http.answered(.events, status: 404, since: 1_000, turn: 1_000)
        http.turnEnded(now: 1_100, took: 100)
        http.turnEnded(now: 2_100, took: 100)
        http.answered(.eventsWrite, status: 201, since: 1_000, turn: 5_000)
        http.turnEnded(now: 5_050, took: 50)
        var out = MetricsWriter()
        http.writeMetrics(into: &out)
        let lines = Set(String(decoding: out.bytes, as: UTF8.self).split(separator: "\n").map(String.init))
        for line in [
            "requests_total{route=\"events\",code=\"2xx\"} 1", "requests_total{route=\"events\",code=\"4xx\"} 1",
            "requests_total{route=\"events_write\",code=\"2xx\"} 1",
            "request_seconds_count{route=\"events\"} 2", "request_seconds_sum{route=\"events\"} 0.000200",
            "request_seconds_sum{route=\"events_write\"} 0.004050",
        ] {
            #expect(lines.contains("hypha_http_\(line)"), "\(line)")
        }
        #expect(!lines.contains { $0.contains("signals") }, "nobody asked for signals")
    }

    @Test("A commit is timed from its job to its answer, and its size is that of the job")
    func commits() throws {
        var store = try StoreWorld()
        store.isPrompt = false
        store.give(.request(RequestID(1), .postEvent), anyEvent)
        store.give(.turnEnded)
        let before = try #require(store.core.journal?.counters)
        store.now = store.now.advanced(milliseconds: 7)
        let size = try #require(store.jobs.first?.bytes.count)
        while !store.jobs.isEmpty { store.work() }
        let after = try #require(store.core.journal?.counters)
        #expect(after.commitTimes.count == before.commitTimes.count + 1)
        #expect(after.commitTimes.sum == before.commitTimes.sum + 7_000)
        #expect(after.commitSizes.sum == before.commitSizes.sum + UInt64(size))
    }

    @Test("Writes that wait for other nodes are timed, whether these came or not")
    func ackWaits() {
        var world = NodeWorld.linked(2)
        #expect(world.write(0, "mem:2") == nil)
        world.now = world.now.advanced(milliseconds: 30)
        world.deliver()
        #expect(world.answers(0).map(\.status) == [201])
        let reached = world.nodes[0].counters.ackWait
        #expect(reached.count == 1 && reached.sum == 30_000)

        world.silent = [1]
        #expect(world.write(0, as: 8, "mem:2") == nil)
        world.tick(0, afterMs: 5_000)
        #expect(world.answers(0, to: 8).map(\.status) == [504])
        let both = world.nodes[0].counters.ackWait
        #expect(both.count == 2 && both.sum == 5_030_000)
    }

    @Test("Requests that wait for their clock are timed")
    func clockWaits() {
        var world = NodeWorld(clocksAheadMs: [0, 0])
        world.link(0, 1)
        world.silent = [0]
        let clock = CompactVector(world.nodes[0].replica, sequence: 1)
        _ = world.post(0, anyEvent)
        world.give(.request(RequestID(7), .events(.init(limit: 1)), after: clock), [], to: 1)
        #expect(world.answers(1).isEmpty)
        world.now = world.now.advanced(milliseconds: 40)
        world.silent = []
        world.deliver()
        #expect(world.answers(1).map(\.status) == [200])
        let waited = world.nodes[1].counters.clockWait
        #expect(waited.count == 1 && waited.sum == 40_000)
    }
}
