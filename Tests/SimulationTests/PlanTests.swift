import CRDT
import Gossip
import Testing

@testable import Simulate

@Suite("Random weather is a plan")
struct PlanTests {
    @Test("A seed draws the same plan each time; its faults stand in order, within its time and its machines")
    func drawing() {
        for seed in 1...300 as ClosedRange<UInt64> {
            let plan = Plan(seed: seed)
            #expect(plan == Plan(seed: seed))
            #expect(zip(plan.faults, plan.faults.dropFirst()).allSatisfy { $0.atMs <= $1.atMs })
            #expect(plan.faults.allSatisfy { $0.atMs <= plan.durationMs })
            let machines = plan.faults.flatMap(\.fault.machines)
            #expect(machines.allSatisfy { 0..<plan.options.size ~= $0 })
            #expect(plan.latecomers.count < plan.options.size)
        }
    }

    @Test("Every kind of fault is drawn; copies of a data directory only once the core can tell them")
    func menu() {
        let drawn = Set((1...300 as ClosedRange<UInt64>).flatMap { Plan(seed: $0).faults.map(\.fault.words[0]) })
        var menu: Set = [
            "partition", "oneway", "bridge", "heal", "crash", "pause", "leave", "join", "step", "drift", "burst",
            "slow",
        ]
        if Plan.drawsClones { menu.insert("clone") }
        if Plan.drawsDisks {
            menu.formUnion([
                "power", "slowdisk", "stuckdisk", "fulldisk", "baddisk", "rot", "lostfile", "wipe", "stale", "restore",
            ])
        }
        #expect(drawn == menu)
        #expect((1...300 as ClosedRange<UInt64>).contains { Plan(seed: $0).options.brokenClockMs != 0 })
    }

    @Test("A plan is written as one word for any shell, and read back the same")
    func text() throws {
        let safe = Set("abcdefghijklmnopqrstuvwxyz0123456789.,=:@/-")
        for seed in 1...300 as ClosedRange<UInt64> {
            let plan = Plan(seed: seed)
            let word = plan.text
            #expect(try Plan(text: word) == plan, "seed \(seed): \(word)")
            #expect(safe.isSuperset(of: word), "\(word)")
        }
        #expect(Plan().text == "usual")
        #expect(try Plan(text: "usual") == Plan())
        for small in [
            "peers=2,agents=1,settle=100/clone@0:0:1/partition@20:0/heal@900",
            "peers=2,disks=3,segments=4096/power@1:0.1:9/slowdisk@2:0:5/stuckdisk@3:1:5/fulldisk@4:1:100:5/"
                + "baddisk@5:0:1/rot@6:1:3:9/lostfile@7:0:9/wipe@8:1:9/stale@9:0:1:2/restore@9:0:1:2",
        ] { #expect(try Plan(text: small).text == small) }
    }

    @Test(
        "A word that is no plan is refused with the part that is wrong",
        arguments: [
            ("", #"a plan has"#), ("peers=0", "1 to 64 peers"), ("peers=many", "peers=many"), ("colour=3", "colour=3"),
            ("usual/dance@3:1", "dance@3:1"), ("usual/crash@3", "crash@3"), ("usual/crash@x:1:2", "crash@x:1:2"),
            ("usual/crash@3:9:2", "names a peer"), ("usual/crash@3:-1:2", "names a peer"), ("usual/", "no fault"),
            ("usual/heal@9/heal@3", "in the order"), ("usual/partition@3:0.x", "partition@3:0.x"),
            ("usual/burst@3:2:0:0:5", "burst@3"), ("ms=99999999999", "ms=99999999999"),
            ("usual/slow@1:0:1:0:5", "slow"), ("usual/rot@1:0:0:5", "rot@1"), ("usual/wipe@1:9:5", "names a peer"),
            ("usual/power@1:0.9:5", "names a peer"), ("usual/stale@1:0:5", "stale@1"),
            ("usual/slowdisk@1", "slowdisk@1"),
        ].dropFirst())
    func malformed(word: String, complaint: String) {
        do throws(Misunderstood) {
            _ = try Plan(text: word)
            Issue.record("\(word) was understood")
        } catch { #expect(error.text.contains(complaint), "\(error.text)") }
    }

    @Test("Without a machine, its faults go and the machines above it move down")
    func removal() throws {
        let plan = try Plan(
            text: "peers=4/join@0:3/partition@1:0.1/partition@1:1/bridge@2:1:0/bridge@2:2:0.1/oneway@3:1:2/"
                + "crash@4:1:100/crash@5:2:100/slow@6:3:0:4:100/burst@7:0.5:0:0:100/heal@8")
        let rest = try Plan(
            text: "peers=3/join@0:2/partition@1:0/partition@2:0/bridge@2:1:0/crash@5:1:100/slow@6:2:0:4:100/"
                + "burst@7:0.5:0:0:100/heal@8")
        #expect(plan.without(1) == rest)
        let disks = try Plan(text: "peers=4,disks=13/power@1:0.1.3:9/power@2:1:9/rot@3:1:1:9/wipe@4:3:9")
        #expect(disks.without(1) == (try Plan(text: "peers=3,disks=7/power@1:0.2:9/wipe@4:2:9")))
    }

    @Test("A plan played from its text goes the same way as from the seed, and every fault has its sentence")
    func keeping() throws {
        let plan = Plan(seed: 12)
        let drawn = Outcome.of(Storm.self, seed: 12)
        let kept = Outcome.of(Storm.self, seed: 12, keep: try Plan(text: plan.text))
        #expect(drawn.hash == kept.hash)
        #expect(drawn.again == "swift run -c release simulate run storm --seed 12")
        #expect(kept.again == "\(drawn.again) --keep \(plan.text)")
        for timed in plan.faults { #expect(plan.story.contains { $0.hasSuffix(timed.fault.story) }) }
    }
}

@Suite("Faults strike as they say")
struct FaultTests {
    private func cluster(size: Int, _ change: (inout Options) -> Void = { _ in }) throws -> Simulate.Cluster {
        var options = Options()
        options.size = size
        options.profile = .fast
        options.postIntervalMs = 100
        change(&options)
        let cluster = Simulate.Cluster(seed: 4, options: options)
        cluster.startAll()
        try cluster.run(milliseconds: 1_000)
        return cluster
    }

    @Test("A killed machine starts again by itself, and so does one that left; the last one is not killed")
    func restarts() throws {
        let cluster = try cluster(size: 2)
        cluster.strike(.crash(1, downMs: 500))
        cluster.strike(.crash(0, downMs: 500))
        #expect(cluster.nodes.map(\.isRunning) == [true, false])
        try cluster.run(milliseconds: 501)
        #expect(cluster.nodes.map(\.life) == [1, 2])
        cluster.strike(.leave(0, awayMs: 30_000))
        try cluster.run(milliseconds: 29_000)
        #expect(!cluster.nodes[0].isRunning)
        try cluster.run(milliseconds: 1_001)
        #expect(cluster.nodes.map(\.life) == [2, 2])
    }

    @Test("A running node does not notice that its wall clock jumps; one that starts later has the wrong time")
    func steps() throws {
        let cluster = try cluster(size: 2)
        cluster.startCrowd()
        func stampedAhead(_ node: Int) -> Int64 {
            let own = cluster.always.origins[cluster.nodes[node].replica.rawValue]!
            return Int64(own.youngest >> 16) - Int64(cluster.wallMs)
        }
        cluster.strike(.step(1, byMs: 9_000))
        try cluster.run(milliseconds: 3_000)
        #expect(stampedAhead(1) <= 0)
        cluster.strike(.crash(1, downMs: 10))
        try cluster.run(milliseconds: 2_000)
        #expect(stampedAhead(1) > 7_000)
        #expect(cluster.tally[.clockSteps] == 1 && cluster.tally[.wrongStarts] == 1)
        #expect(cluster.excused == Finally.countedWithWrongClocks)
        cluster.strike(.step(1, byMs: 3_600_000))
        #expect(cluster.nodes[1].skewMs == Plan.mostWrongMs)
    }

    @Test("A clock that changes its speed does not jump")
    func drift() {
        let node = Node(index: 0, skewMs: 0, driftPpm: 100, clockBase: 7_000_000)
        let before = node.clock(at: 60_000_000)
        #expect(before.microseconds == 67_006_000)
        node.drift(-200, at: 60_000_000)
        #expect(node.clock(at: 60_000_000) == before)
        #expect(node.clock(at: 70_000_000).microseconds == 77_004_000)
        #expect(node.elapsedMs(at: 70_000_000) == 70_004)
        #expect(node.clock(at: node.world(at: Instant(microseconds: 77_004_000))).microseconds >= 77_004_000)
    }

    @Test("A burst and a slow link pass; the calm ends them at once")
    func weather() throws {
        let cluster = try cluster(size: 3)
        let burst = Burst(lossRate: 0.5, duplicateRate: 0.25, jitterUs: 9_000)
        cluster.strike(.burst(burst, ms: 100))
        cluster.strike(.slowLink(0, 1, times: 10, ms: 150))
        func now() -> [Double] {
            [
                cluster.network.currentLoss, cluster.network.currentDuplicates,
                Double(cluster.network.bytesPerMs(1, 0)),
                Double(cluster.network.bytesPerMs(1, 2)),
            ]
        }
        #expect(now() == [0.5, 0.25, 1_250, 12_500])
        try cluster.run(milliseconds: 50)
        cluster.strike(.burst(burst, ms: 80))
        try cluster.run(milliseconds: 60)
        #expect(now() == [0.5, 0.25, 1_250, 12_500], "the second burst is not ended by the end of the first")
        try cluster.run(milliseconds: 41)
        #expect(now() == [0, 0, 12_500, 12_500])
        cluster.strike(.burst(burst, ms: 1_000))
        cluster.strike(.slowLink(2, 1, times: 1_000, ms: 1_000))
        #expect(cluster.network.bytesPerMs(1, 2) == 100)
        cluster.calm()
        #expect(now() == [0, 0, 12_500, 12_500])
    }

    @Test("A clone is a second process under the same replica id")
    func clones() throws {
        let cluster = try cluster(size: 3) { $0.disks = 7 }
        let life = cluster.nodes[2].life
        cluster.strike(.clone(of: 0, on: 2))
        #expect(cluster.nodes[2].replica == cluster.nodes[0].replica)
        #expect(cluster.nodes[2].isRunning && cluster.nodes[2].life == life + 1)
        #expect(
            cluster.always.origins[cluster.nodes[0].replica.rawValue] == nil,
            "what two write under one id neither has written alone")
        #expect(cluster.excused.contains("hypha_log_forks_total"))
    }

    @Test("A fault that does not fit the moment does nothing")
    func misfits() throws {
        let cluster = try cluster(size: 1)
        let before = cluster.tally[.datagramsSent]
        for fault in [
            .crash(0, downMs: 1), .leave(0, awayMs: 1), .join(0), .partition([0]), .oneWay(from: 0, to: 0),
            .bridge(over: 0, side: [0]), .slowLink(0, 0, times: 2, ms: 1), .clone(of: 0, on: 0),
        ] as [Fault] { cluster.strike(fault) }
        #expect(cluster.nodes[0].isRunning && cluster.nodes[0].life == 1 && cluster.network.cuts.isEmpty)
        #expect(cluster.tally[.datagramsSent] == before)
        let counted = [.crashes, .leaves, .joins, .partitions, .oneWayCuts, .bridges, .slowLinks, .clones] as [Trouble]
        #expect(counted.allSatisfy { cluster.tally[$0] == 0 })
    }
}
