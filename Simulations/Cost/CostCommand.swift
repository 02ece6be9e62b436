/// `simulate cost`: what a cluster of each size costs, as a table.
struct CostCommand: Sendable {
    /// The parts of the table.
    enum Part: String, CaseIterable, Sendable {
        case idle, deaths, loss, heal, repair
    }

    /// One row of one part.
    enum Row: Sendable {
        case idle(CostMeasure.Idle)
        case deaths(CostMeasure.Deaths)
        case loss(CostMeasure.Loss)
        case heal(CostMeasure.Heal)
        case repair(CostMeasure.Repair)
    }

    static let usage = """
        simulate cost: what a cluster costs, on a simulated LAN

          simulate cost [--peers 3,10,30,100,300] [--parts idle,deaths,loss,heal,repair] [--write FILE]
          simulate cost --soak                      100 peers, 24 hours, 1 % loss: is anybody called dead?

          --seed N     decides everything (1)
          --kills N    for each size (200); a quarter of that above 100 peers
          --hours N    simulated at 100 peers for each rate of loss (24); larger sizes get as many peer-hours,
                       smaller ones at most 24 hours
          --jobs N     so many measurements side by side (as many as processors)
        """

    static let lossRates = [0.0, 0.01, 0.05, 0.1]
    /// Missing facts, and facts in the log.
    static let repairs = [
        (1, 10_000), (100, 10_000), (1, 1_000_000), (100, 1_000_000), (10_000, 1_000_000),
    ]
    static let idleSeconds = 600
    static let factsPerSide = 10_000

    var peers = [3, 10, 30, 100, 300]
    var parts = Set(Part.allCases)
    var seed: UInt64 = 1
    var kills = 200
    var hours = 24
    var jobs = Terminal.processors
    var isSoak = false
    var path: String?

    init() {}

    init(_ arguments: inout Arguments) throws(Misunderstood) {
        if let list = try arguments.text("--peers") {
            peers = []
            for word in list.split(separator: ",") {
                guard let count = Int(word), (2...1_000).contains(count) else {
                    throw Misunderstood("--peers needs numbers from 2 to 1000 with commas between them")
                }
                peers.append(count)
            }
        }
        if let list = try arguments.text("--parts") {
            parts = []
            for word in list.split(separator: ",") {
                guard let part = Part(rawValue: String(word)) else {
                    throw Misunderstood("there is no part \"\(word)\" of the cost table")
                }
                parts.insert(part)
            }
        }
        seed = try arguments.number("--seed") ?? seed
        kills = Int(try arguments.number("--kills") ?? UInt64(kills))
        hours = Int(try arguments.number("--hours") ?? UInt64(hours))
        jobs = Int(try arguments.number("--jobs") ?? UInt64(jobs))
        path = try arguments.text("--write")
        isSoak = arguments.flag("--soak")
        try arguments.end()
    }

    /// Simulated hours for a size: as many peer-hours for each, within bounds.
    func hours(for size: Int) -> Double { min(24, max(1, Double(hours) * 100 / Double(size))) }

    /// Cuts for a size: five, fewer where one alone is minutes of work.
    static func cuts(for size: Int) -> Int { max(1, min(5, 500 / size)) }

    /// Kills for a size: as many as asked for, a quarter of that above 100 peers.
    func kills(for size: Int) -> Int { size > 100 ? max(1, kills / 4) : kills }

    /// Measures, prints, and writes the page if asked; false when a promise did not hold.
    func run() async -> Bool {
        if isSoak { return soak() }
        let rows = await measure()
        let page = CostPage(rows: rows, command: self).text
        guard let path else {
            print(page)
            return true
        }
        guard Terminal.write(page, to: path) else {
            Terminal.complain("simulate: \(path) cannot be written")
            return false
        }
        print("wrote \(path)")
        return true
    }

    private func soak() -> Bool {
        let row = CostMeasure.loss(100, rate: 0.01, hours: Double(min(hours, 24)), seed: seed)
        print(
            "100 peers, \(row.simulatedMs / 3_600_000) simulated hours at 1 % loss: \(row.falseDeaths) living peers called dead, "
                + "\(row.suspicions) suspected, \(row.refutations) refutations; \(row.datagrams) datagrams, \(row.inputs) inputs"
        )
        return row.falseDeaths == 0
    }

    private func measure() async -> [Row] {
        let plan = plan()
        var rows = [Row?](repeating: nil, count: plan.count)
        await withTaskGroup(of: (Int, Row).self) { group in
            var next = 0
            func start() {
                guard next < plan.count else { return }
                let (place, work) = (next, plan[next])
                next += 1
                group.addTask { (place, work()) }
            }
            for _ in 0..<jobs { start() }
            while let (place, row) = await group.next() {
                start()
                rows[place] = row
                Terminal.complain("\(rows.count { $0 != nil }) of \(plan.count) measured")
            }
        }
        return rows.compactMap { $0 }
    }

    private func plan() -> [@Sendable () -> Row] {
        let seed = seed
        var plan: [@Sendable () -> Row] = []
        for part in Part.allCases where parts.contains(part) {
            switch part {
            case .idle:
                for size in peers {
                    plan.append { .idle(CostMeasure.idle(size, seconds: Self.idleSeconds, seed: seed)) }
                }
            case .deaths:
                for size in peers {
                    let kills = kills(for: size)
                    plan.append { .deaths(CostMeasure.deaths(size, kills: kills, seed: seed)) }
                }
            case .loss:
                for size in peers {
                    let hours = hours(for: size)
                    for rate in Self.lossRates {
                        plan.append { .loss(CostMeasure.loss(size, rate: rate, hours: hours, seed: seed)) }
                    }
                }
            case .heal:
                for size in peers {
                    let cuts = Self.cuts(for: size)
                    plan.append { .heal(CostMeasure.heal(size, facts: Self.factsPerSide, cuts: cuts, seed: seed)) }
                }
            case .repair:
                for (missing, facts) in Self.repairs {
                    plan.append { .repair(CostMeasure.repair(missing: missing, of: facts, seed: seed)) }
                }
            }
        }
        return plan
    }
}
