internal import Gossip

/// A plan as one word that survives copying, pasting and a shell:
/// `peers=3,loss=0.05,ms=9000/partition@1200:0.1/heal@5000`.
/// What is as usual is left out.
extension Plan {
    /// The plan as one word.
    var text: String {
        let usual = Plan()
        var settings = OptionField.all.filter { $0.write(options) != $0.write(usual.options) }
            .map { "\($0.key)=\($0.write(options))" }
        settings += Plan.times.filter { self[keyPath: $0.path] != usual[keyPath: $0.path] }
            .map { "\($0.key)=\(self[keyPath: $0.path])" }
        let head = settings.isEmpty ? "usual" : settings.joined(separator: ",")
        return
            ([head]
            + faults.map { timed in
                let words = timed.fault.words
                return (["\(words[0])@\(timed.atMs)"] + words[1...]).joined(separator: ":")
            }).joined(separator: "/")
    }

    /// Reads such a word back.
    init(text: String) throws(Misunderstood) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        for setting in parts[0].split(separator: ",") where setting != "usual" {
            let sides = setting.split(separator: "=").map(String.init)
            guard sides.count == 2, try set(sides[0], to: sides[1]) else {
                throw Misunderstood("\"\(setting)\" is no setting of a plan")
            }
        }
        guard 1...64 ~= options.size else { throw Misunderstood("a plan has 1 to 64 peers") }
        for part in parts.dropFirst() {
            let words = part.split(separator: ":").map(String.init)
            let head = words.first.map { $0.split(separator: "@").map(String.init) } ?? []
            guard head.count == 2, let at = UInt64(head[1]), let fault = Fault(head[0], Array(words.dropFirst())) else {
                throw Misunderstood("\"\(part)\" is no fault of a plan")
            }
            guard fault.machines.allSatisfy({ 0..<options.size ~= $0 }) else {
                throw Misunderstood("\"\(part)\" names a peer that the plan has not")
            }
            faults.append(TimedFault(atMs: at, fault: fault))
        }
        guard zip(faults, faults.dropFirst()).allSatisfy({ $0.atMs <= $1.atMs }) else {
            throw Misunderstood("the faults of a plan stand in the order of their times")
        }
    }

    private mutating func set(_ key: String, to value: String) throws(Misunderstood) -> Bool {
        if let time = Plan.times.first(where: { $0.key == key }) {
            guard let ms = UInt64(value), ms <= 86_400_000 else { return false }
            self[keyPath: time.path] = ms
            return true
        }
        return OptionField.all.first { $0.key == key }?.read(value, &options) ?? false
    }

    private static var times: [(key: String, path: WritableKeyPath<Plan, UInt64>)] {
        [("quiet", \.quietMs), ("ms", \.durationMs), ("settle", \.settleMs)]
    }
}

/// One option of a world by its short name, as text.
struct OptionField {
    let key: String
    let write: (Options) -> String
    /// Sets the option from text; false when that is no value for it.
    let read: (String, inout Options) -> Bool

    private init<T: LosslessStringConvertible>(_ key: String, _ path: WritableKeyPath<Options, T>) {
        self.key = key
        write = { $0[keyPath: path].description }
        read = { text, options in
            guard let value = T(text) else { return false }
            options[keyPath: path] = value
            return true
        }
    }

    private init(profile key: String) {
        self.key = key
        write = { $0.profile == .lan ? "lan" : "fast" }
        read = { text, options in
            guard let profile: Profile = text == "lan" ? .lan : text == "fast" ? .fast : nil else { return false }
            options.profile = profile
            return true
        }
    }

    /// Every option.
    static var all: [OptionField] {
        [
            .init("peers", \.size), .init(profile: "profile"), .init("latency", \.latencyUs),
            .init("jitter", \.jitterUs), .init("loss", \.lossRate), .init("duplicates", \.duplicateRate),
            .init("reorder", \.reorderRate), .init("link", \.bytesPerMs), .init("skew", \.skewMs),
            .init("broken", \.brokenClockMs), .init("drift", \.driftPpm), .init("agents", \.agents),
            .init("every", \.postIntervalMs), .init("subscribers", \.subscribersPerNode),
            .init("wanderers", \.wanderers), .init("clients", \.clients), .init("twins", \.twinRate),
            .init("conflicts", \.conflictRate),
            .init("hops", \.hopRate), .init("filler", \.filler), .init("all-seeds", \.knowsAll),
            .init("social", \.isSocial),
            .init("keeps", \.keptEntries), .init("folds", \.operationsMs), .init("tombstones", \.tombstonesMs),
            .init("forgets", \.forgetMs), .init("disks", \.disks),
            .init("segments", \.segmentBytes),
        ]
    }
}

extension Fault {
    /// Its name and its numbers, as text.
    var words: [String] {
        func list(_ nodes: [Int]) -> String { nodes.map(String.init).joined(separator: ".") }
        switch self {
        case .partition(let side): return ["partition", list(side)]
        case .oneWay(let from, let to): return ["oneway", "\(from)", "\(to)"]
        case .bridge(let over, let side): return ["bridge", "\(over)", list(side)]
        case .heal: return ["heal"]
        case .crash(let node, let downMs): return ["crash", "\(node)", "\(downMs)"]
        case .power(let nodes, let downMs): return ["power", list(nodes), "\(downMs)"]
        case .disk(let node, let fault):
            return [fault.words.name, "\(node)"] + fault.words.numbers.map(String.init)
        case .pause(let node, let ms): return ["pause", "\(node)", "\(ms)"]
        case .leave(let node, let awayMs): return ["leave", "\(node)", "\(awayMs)"]
        case .join(let node): return ["join", "\(node)"]
        case .step(let node, let byMs): return ["step", "\(node)", "\(byMs)"]
        case .drift(let node, let ppm): return ["drift", "\(node)", "\(ppm)"]
        case .burst(let burst, let ms):
            return ["burst", "\(burst.lossRate)", "\(burst.duplicateRate)", "\(burst.jitterUs)", "\(ms)"]
        case .slowLink(let a, let b, let times, let ms): return ["slow", "\(a)", "\(b)", "\(times)", "\(ms)"]
        case .clone(let of, let on): return ["clone", "\(of)", "\(on)"]
        }
    }

    /// Reads a name and its numbers back; nil for anything else.
    init?(_ name: String, _ words: [String]) {
        let numbers = words.compactMap { Int64($0) }
        let areNumbers = numbers.count == words.count
        func nodes(_ text: String) -> [Int]? {
            let nodes = text.split(separator: ".").compactMap { Int($0) }
            return nodes.isEmpty || nodes.count != text.split(separator: ".").count ? nil : nodes
        }
        func ms(_ place: Int) -> UInt64? { areNumbers ? UInt64(exactly: numbers[place]) : nil }
        func node(_ place: Int) -> Int? { areNumbers ? Int(exactly: numbers[place]) : nil }
        switch (name, words.count) {
        case ("partition", 1):
            guard let side = nodes(words[0]) else { return nil }
            self = .partition(side)
        case ("bridge", 2):
            guard let over = Int(words[0]), let side = nodes(words[1]) else { return nil }
            self = .bridge(over: over, side: side)
        case ("heal", 0): self = .heal
        case ("burst", 4):
            guard let loss = Double(words[0]), let twice = Double(words[1]), let jitter = UInt64(words[2]),
                let ms = UInt64(words[3]), 0...1 ~= loss, 0...1 ~= twice
            else { return nil }
            self = .burst(Burst(lossRate: loss, duplicateRate: twice, jitterUs: jitter), ms: ms)
        case ("oneway", 2):
            guard let from = node(0), let to = node(1) else { return nil }
            self = .oneWay(from: from, to: to)
        case ("clone", 2):
            guard let of = node(0), let on = node(1) else { return nil }
            self = .clone(of: of, on: on)
        case ("crash", 2):
            guard let node = node(0), let ms = ms(1) else { return nil }
            self = .crash(node, downMs: ms)
        case ("power", 2):
            guard let side = nodes(words[0]), let ms = UInt64(words[1]) else { return nil }
            self = .power(side, downMs: ms)
        case ("pause", 2):
            guard let node = node(0), let ms = ms(1) else { return nil }
            self = .pause(node, ms: ms)
        case ("leave", 2):
            guard let node = node(0), let ms = ms(1) else { return nil }
            self = .leave(node, awayMs: ms)
        case ("join", 1):
            guard let node = node(0) else { return nil }
            self = .join(node)
        case ("step", 2):
            guard let node = node(0) else { return nil }
            self = .step(node, byMs: numbers[1])
        case ("drift", 2):
            guard let node = node(0), abs(numbers[1]) < 100_000 else { return nil }
            self = .drift(node, ppm: numbers[1])
        case ("slow", 4):
            guard let a = node(0), let b = node(1), let times = ms(2), let ms = ms(3), times > 0 else { return nil }
            self = .slowLink(a, b, times: times, ms: ms)
        default:
            let numbers = words.dropFirst().compactMap { UInt64($0) }
            guard let node = words.first.flatMap({ Int($0) }), numbers.count + 1 == words.count,
                let fault = DiskFault(name, numbers)
            else { return nil }
            self = .disk(node, fault)
        }
    }

    /// The machines that it names.
    var machines: [Int] {
        switch self {
        case .partition(let side), .power(let side, _): side
        case .bridge(let over, let side): [over] + side
        case .oneWay(let a, let b), .slowLink(let a, let b, _, _), .clone(let a, let b): [a, b]
        case .heal, .burst: []
        case .crash(let node, _), .pause(let node, _), .leave(let node, _), .join(let node), .step(let node, _),
            .drift(let node, _), .disk(let node, _):
            [node]
        }
    }
}
