internal import Gossip
internal import NodeCore

/// Three durable peers. Bits flip in the files of one while it is down; then it has them all again from the others.
struct BitRot: Scenario {
    static let name = "bit-rot"
    static let promise =
        "A peer whose files were damaged says so, reads what it lost from its peers, and has everything."

    func options(_ dice: inout Dice) -> Options { .durable(3, &dice) }

    func run(_ cluster: Cluster) throws(Violation) {
        cluster.startAll()
        try cluster.becomesWhole(trustMs: 10_000, eventsMs: 1_000)
        cluster.startCrowd()
        for _ in 0..<3 {
            try cluster.run(milliseconds: 6_000)
            // The others have by then what only this one had.
            let victim = Int(cluster.faults.below(3))
            cluster.strike(.rot(bits: 1 + cluster.faults.below(50), downMs: 2_000), cluster.nodes[victim])
            try cluster.run(milliseconds: 3_000)
            try cluster.eventually("a damaged peer serves again", withinMs: 20_000) { (cluster) throws(Violation) in
                let (status, body) = try cluster.ask(cluster.nodes[victim], .health(.init()))
                return status == 200 ? nil : String(decoding: body, as: UTF8.self)
            }
        }
        cluster.stopCrowd()
        try cluster.becomesWhole(trustMs: 20_000, eventsMs: 20_000)
        try cluster.finally()
    }
}

/// The same for one peer alone: nobody has what it lost, and nobody but its owner can say that this does not matter.
struct BitRotAlone: Scenario {
    static let name = "bit-rot-alone"
    static let promise =
        "A lone peer whose files were damaged does not start by itself, and told to, serves what is left."

    func options(_ dice: inout Dice) -> Options {
        var options = Options.durable(1, &dice)
        options.segmentBytes = 1 << 20
        return options
    }

    func run(_ cluster: Cluster) throws(Violation) {
        cluster.startAll()
        cluster.startCrowd()
        try cluster.run(milliseconds: 10_000)
        let before = cluster.nodes[0].witness.shown.count
        let bits = 5 + cluster.faults.below(50)
        cluster.strike(.rot(bits: bits, downMs: 1_000), cluster.nodes[0])
        try cluster.run(milliseconds: 2_000)
        try check(cluster, "a lone peer that lost something does not start by itself") { $0.tally[.refusedStarts] == 1 }
        try check(cluster, "what can still be read is there") { (cluster) throws(Violation) in
            let left = cluster.nodes[0].witness.shown.count
            return before - Int(bits) * 20 <= left
        }
        try cluster.run(milliseconds: 10_000)
        // The damage is accepted: nobody has to say so twice.
        cluster.crash(0)
        cluster.start(0)
        try cluster.run(milliseconds: 5_000)
        try check(cluster, "whose loss was accepted starts by itself") { $0.tally[.refusedStarts] == 1 }
        cluster.stopCrowd()
        try cluster.becomesWhole(trustMs: 10_000, eventsMs: 5_000)
        try cluster.finally()
    }
}
