internal import CRDT
internal import Gossip
internal import NodeCore

/// Plays the faults of a plan.
extension Cluster {
    /// Plays a plan from its beginning to the end of its faults and past it: agents have stopped, everybody runs.
    func play(_ plan: Plan) throws(Violation) {
        if plan.options.brokenClockMs != 0 { excused.formUnion(Finally.countedWithWrongClocks) }
        let late = plan.latecomers
        for node in nodes where !late.contains(node.index) { start(node.index) }
        try run(milliseconds: plan.quietMs)
        startCrowd()
        let began = now
        for timed in plan.faults where timed.atMs <= plan.durationMs {
            try run(until: began + timed.atMs * 1_000)
            strike(timed.fault)
            try nobodyPretends()
        }
        try run(until: began + plan.durationMs * 1_000)

        heal()
        calm()
        // Everybody runs in the end: a peer cannot join whose only seed is gone for good.
        try eventually("whoever leaves is gone", withinMs: 15_000) { (cluster) throws(Violation) in
            cluster.nodes.first { $0.isPaused || $0.state == .leaving }.map { "node \($0.index) is still there" }
        }
        startAll()
        try run(milliseconds: plan.settleMs)
        stopCrowd()
    }

    /// One fault happens, if it fits the moment.
    func strike(_ fault: Fault) {
        recorder?.note(fault, at: now)
        switch fault {
        case .partition(let side):
            let rest = nodes.indices.filter { !side.contains($0) }
            guard !side.isEmpty, !rest.isEmpty else { return }
            tally.add(.partitions)
            cut(Cut.between(side, rest))
        case .oneWay(let from, let to):
            guard from != to else { return }
            tally.add(.oneWayCuts)
            cut(network.cuts + Cut.oneWay(from: [from], to: [to]))
        case .bridge(let over, let side):
            let rest = nodes.indices.filter { $0 != over && !side.contains($0) }
            guard !side.isEmpty, !rest.isEmpty else { return }
            tally.add(.bridges)
            cut(Cut.between(side.filter { $0 != over }, rest))
        case .heal: heal()
        case .crash(let node, let downMs):
            // A lone peer in memory has nobody to remember for it.
            guard nodes[node].isRunning, running.count > 1 || nodes[node].disk != nil else { return }
            crash(node)
            agenda.add(.boot(node: node, life: nodes[node].life), at: now + downMs * 1_000)
        case .power(let machines, let downMs): losePower(machines, downMs: downMs)
        case .disk(let node, let fault): strike(fault, nodes[node])
        case .pause(let node, let ms): pause(node, milliseconds: ms)
        case .leave(let node, let awayMs):
            guard running.count > 1 || nodes[node].disk != nil, nodes[node].state == .up else { return }
            leave(node)
            agenda.add(.boot(node: node, life: nodes[node].life), at: now + awayMs * 1_000)
        case .join(let node):
            guard nodes[node].life == 0 else { return }
            tally.add(.joins)
            start(node)
        case .step(let node, let byMs): step(node, byMs: byMs)
        case .drift(let node, let ppm):
            tally.add(.driftChanges)
            nodes[node].drift(ppm, at: now)
            trace.line(at: now, "the clock of n\(node) runs \(ppm) ppm fast")
        case .burst(let burst, let ms):
            tally.add(.bursts)
            network.bursts += 1
            network.burst = burst
            agenda.add(.subside(burst: network.bursts), at: now + ms * 1_000)
        case .slowLink(let a, let b, let times, let ms):
            guard a != b else { return }
            tally.add(.slowLinks)
            network.slow(a, b, times: times)
            agenda.add(.quicken(a, b), at: now + ms * 1_000)
        case .clone(let of, let on):
            // A node in memory has nothing to copy: an id of 64 random bits is in no other place.
            // One copy at a time: which of three is the original nobody has promised to find out.
            // And where the two can meet: behind a cut they write two logs under one number for as long as it lasts.
            guard of != on, nodes[of].state == .up, nodes[of].disk != nil, nodes[on].disk != nil, tally[.clones] == 0,
                network.cuts.isEmpty
            else { return }
            if nodes[on].isRunning { crash(on) }
            tally.add(.clones)
            excused.insert("hypha_log_forks_total")
            always.forgetful.insert(nodes[of].replica.rawValue)
            if let image = nodes[of].disk?.image() {
                nodes[on].disk!.adopt(image)
                harm(nodes[on])
            }
            start(on, copying: nodes[of])
        }
    }

    /// A machine's wall clock jumps. Whatever runs there must not notice: stamps follow the monotonic clock.
    func step(_ index: Int, byMs: Int64) {
        tally.add(.clockSteps)
        excused.formUnion(Finally.countedWithWrongClocks)
        let node = nodes[index]
        node.skewMs = min(max(node.skewMs + byMs, -Plan.mostWrongMs), Plan.mostWrongMs)
        trace.line(at: now, "the wall clock of n\(index) jumps; it is off by \(node.skewMs) ms")
    }

    /// A machine that went down starts its node again; it waits for one that is still leaving.
    func boot(_ node: Node, _ life: Int) {
        guard node.life == life else { return }
        if node.state == .leaving { return agenda.add(.boot(node: node.index, life: life), at: now + 500_000) }
        if !node.isRunning { start(node.index) }
    }
}
