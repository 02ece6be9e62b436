/// Makes a plan that breaks a promise smaller for as long as the same promise stays broken: fewer faults, peers,
/// agents and options, shorter.
///
/// Faults go by delta debugging (Zeller, Hildebrandt: "Simplifying and Isolating Failure-Inducing Input", 2002): halves
/// first, single ones last. Everything else is tried in a fixed order, and all again until nothing helps.
/// The work is bounded in replays, not in time, so that the same run shrinks to the same plan on every machine.
struct Shrinker {
    /// The most replays.
    static let budget = 200

    /// The smallest plan so far that breaks the promise.
    private(set) var plan: Plan
    /// How it breaks it.
    private(set) var violation: Violation
    /// How often a plan was played.
    private(set) var replays = 0
    private let budget: Int
    private let play: (Plan) -> Violation?

    /// A shrinker for a plan that is known to end in `violation`. `play` plays a plan and says what it broke.
    init(_ plan: Plan, _ violation: Violation, budget: Int = budget, play: @escaping (Plan) -> Violation?) {
        self.plan = plan
        self.violation = violation
        self.budget = budget
        self.play = play
    }

    /// Shrinks until nothing helps or the budget is used up.
    mutating func shrink() {
        var last: Plan
        repeat {
            last = plan
            endEarlier()
            dropFaults()
            dropPeers()
            dropAgents()
            dropOptions()
            shorten()
        } while plan != last && replays < budget
    }

    /// Plays a candidate; it is the new plan if it breaks the same promise.
    @discardableResult
    private mutating func adopt(_ candidate: Plan) -> Bool {
        guard candidate != plan, replays < budget else { return false }
        replays += 1
        guard let broken = play(candidate), broken.promise == violation.promise else { return false }
        plan = candidate
        violation = broken
        return true
    }

    private mutating func adopt(_ change: (inout Plan) -> Void) -> Bool {
        var candidate = plan
        change(&candidate)
        return adopt(candidate)
    }

    private mutating func endEarlier() {
        while plan.durationMs >= 500,
            adopt({ plan in
                plan.durationMs /= 2
                plan.faults.removeAll { [end = plan.durationMs] in $0.atMs > end }
            })
        {}
        _ = adopt { $0.durationMs = $0.faults.last.map { $0.atMs + 1 } ?? 1 }
    }

    private mutating func dropFaults() {
        var size = plan.faults.count
        while size > 0 {
            var start = 0
            while start < plan.faults.count {
                let end = min(start + size, plan.faults.count)
                if !adopt({ $0.faults.removeSubrange(start..<end) }) { start = end }
            }
            size /= 2
        }
    }

    private mutating func dropPeers() {
        var node = plan.options.size - 1
        while node >= 0, plan.options.size > 1 {
            adopt(plan.without(node))
            node -= 1
        }
    }

    private mutating func dropAgents() {
        for count in [0, 1, 2, plan.options.agents / 2] where count < plan.options.agents {
            if adopt({ $0.options.agents = count }) { return }
        }
    }

    private mutating func dropOptions() {
        let plain: [(inout Options) -> Void] = [
            { $0.lossRate = 0 }, { $0.duplicateRate = 0 }, { $0.reorderRate = 0 }, { $0.jitterUs = 0 },
            { $0.skewMs = 0 }, { $0.brokenClockMs = 0 }, { $0.driftPpm = 0 }, { $0.twinRate = 0 },
            { $0.conflictRate = 0 }, { $0.filler = 0 }, { $0.hopRate = 0 }, { $0.wanderers = 0 },
            { $0.clients = 0 }, { $0.clients = min($0.clients, 1) },
            { $0.subscribersPerNode = 0 }, { $0.bytesPerMs = 12_500 }, { $0.latencyUs = 150 },
            { $0.knowsAll = true }, { $0.disks = 0 }, { $0.disks = Options.allDisks($0.size) },
            { $0.postIntervalMs = max($0.postIntervalMs, 1_000) },
        ]
        for change in plain { _ = adopt { change(&$0.options) } }
    }

    private mutating func shorten() {
        while plan.quietMs >= 200, adopt({ $0.quietMs /= 2 }) {}
        while plan.settleMs >= 200, adopt({ $0.settleMs /= 2 }) {}
        // The waits between faults.
        for place in plan.faults.indices {
            while adopt({ plan in
                let gap = plan.faults[place].atMs - (place == 0 ? 0 : plan.faults[place - 1].atMs)
                guard gap >= 200 else { return }
                for later in place..<plan.faults.count { plan.faults[later].atMs -= gap / 2 }
                plan.durationMs -= gap / 2
            }) {}
        }
        // How long each lasts.
        for place in plan.faults.indices {
            while let shorter = plan.faults[place].fault.shorter, adopt({ $0.faults[place].fault = shorter }) {}
        }
    }
}
