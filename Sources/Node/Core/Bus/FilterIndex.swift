import CRDT

/// Finds who wants an event among many filters: what it costs grows with those that match, not with those there are.
///
/// A tree of the segments of address patterns, one for each surface. Where a pattern ends, its filters lie in a table by
/// agent and type, so that filters of one pattern that name others cost nothing either.
struct FilterIndex<Target: Hashable & Comparable & Sendable>: Sendable {
    /// One filter of one target.
    private struct Entry: Sendable {
        let target: Target
        let filter: Filter
    }

    /// What filters name besides the address, as hashes; zero for anything.
    private struct Key: Hashable {
        let agent: UInt64
        let type: UInt64
    }

    /// The filters whose pattern ends at one place.
    private struct Bucket: Sendable {
        var entries: [Key: [Entry]] = [:]
        /// Whether some filter here names agents, or types.
        var namesAgents = 0
        var namesTypes = 0
    }

    private struct Node: Sendable {
        let parent: Int
        let segment: [UInt8]
        var isAny = false
        /// The child for `*`.
        var any = -1
        var children = 0
        /// Filters whose pattern ends here, and those that take whatever follows.
        var here: Bucket?
        var tail: Bucket?

        var isUnused: Bool { children == 0 && any < 0 && here == nil && tail == nil }
    }

    /// The roots of SEMP's and the bus's tree come first. Other surfaces have none: who gets what is on them is decided by
    /// other means.
    private var nodes = [Node(parent: -1, segment: []), Node(parent: -1, segment: [])]
    /// Filters without a pattern, by surface.
    private var everywhere: [Bucket?] = [nil, nil]
    /// Children with a text, by the hash of parent and text.
    private var children: [UInt64: [Int]] = [:]
    private var free: [Int] = []
    /// How many filters of how many targets there are.
    private(set) var count = 0

    /// How many places of patterns are in use.
    var nodeCount: Int { nodes.count - free.count }
    /// Whether nobody wants anything.
    var isEmpty: Bool { count == 0 }

    // MARK: - Changing

    /// Adds a filter of a target; once for each time it is to be removed.
    mutating func insert(_ filter: Filter, _ target: Target) {
        guard !filter.surface.isPrivate else { return }
        count += 1
        change(filter, isInsertion: true) { bucket in
            for key in Self.keys(of: filter) {
                bucket.entries[key, default: []].append(Entry(target: target, filter: filter))
            }
        }
    }

    /// Removes what `insert` added.
    mutating func remove(_ filter: Filter, _ target: Target) {
        guard !filter.surface.isPrivate else { return }
        count -= 1
        change(filter, isInsertion: false) { bucket in
            for key in Self.keys(of: filter) {
                guard var entries = bucket.entries[key],
                    let at = entries.firstIndex(where: { $0.target == target && $0.filter == filter })
                else { continue }
                entries.remove(at: at)
                bucket.entries[key] = entries.isEmpty ? nil : entries
            }
        }
    }

    private mutating func change(_ filter: Filter, isInsertion: Bool, _ body: (inout Bucket) -> Void) {
        func apply(_ bucket: inout Bucket?) {
            var changed = bucket ?? Bucket()
            body(&changed)
            changed.namesAgents += filter.agents == nil ? 0 : isInsertion ? 1 : -1
            changed.namesTypes += filter.types == nil ? 0 : isInsertion ? 1 : -1
            bucket = changed.entries.isEmpty ? nil : changed
        }
        let root = Int(filter.surface.rawValue)
        guard let pattern = filter.address else { return apply(&everywhere[root]) }
        var at = root
        var isTail = false
        for segment in pattern.segments {
            switch segment {
            case .tail: isTail = true
            case .any: at = nodes[at].any >= 0 ? nodes[at].any : addAny(to: at)
            case .text(let text):
                let hash = Self.hash(at, text.span.bytes)
                at = child(of: at, text.span.bytes, hash) ?? addChild(to: at, text, hash)
            }
        }
        if isTail { apply(&nodes[at].tail) } else { apply(&nodes[at].here) }
        prune(at)
    }

    private mutating func addAny(to parent: Int) -> Int {
        let at = add(Node(parent: parent, segment: [], isAny: true))
        nodes[parent].any = at
        return at
    }

    private mutating func addChild(to parent: Int, _ text: [UInt8], _ hash: UInt64) -> Int {
        let at = add(Node(parent: parent, segment: text))
        nodes[parent].children += 1
        children[hash, default: []].append(at)
        return at
    }

    private mutating func add(_ node: Node) -> Int {
        if let at = free.popLast() {
            nodes[at] = node
            return at
        }
        nodes.append(node)
        return nodes.count - 1
    }

    /// Gives back nodes that lead nowhere any more.
    private mutating func prune(_ leaf: Int) {
        var at = leaf
        while nodes[at].parent >= 0, nodes[at].isUnused {
            let node = nodes[at]
            if node.isAny {
                nodes[node.parent].any = -1
            } else {
                let hash = Self.hash(node.parent, node.segment.span.bytes)
                children[hash]?.removeAll { $0 == at }
                if children[hash]?.isEmpty ?? false { children[hash] = nil }
                nodes[node.parent].children -= 1
            }
            free.append(at)
            at = node.parent
        }
    }

    // MARK: - Matching

    /// Adds the targets that want an event, each once, in order.
    func match(_ event: EventView, _ json: RawSpan, into targets: inout [Target]) {
        let root = Int(event.surface.rawValue)
        guard count > 0, root < everywhere.count else { return }
        let before = targets.count
        if let bucket = everywhere[root] { match(bucket, event, json, into: &targets) }
        let address = json.extracting(event.address)
        walk(root, address, from: 0, event, json, into: &targets)
        guard targets.count > before + 1 else { return }
        targets[before...].sort()
        var kept = before + 1
        for at in before + 1..<targets.count where targets[at] != targets[kept - 1] {
            targets[kept] = targets[at]
            kept += 1
        }
        targets.removeLast(targets.count - kept)
    }

    private func walk(
        _ at: Int, _ address: RawSpan, from start: Int, _ event: EventView, _ json: RawSpan,
        into targets: inout [Target]
    ) {
        guard start <= address.byteCount else {
            if let bucket = nodes[at].here { match(bucket, event, json, into: &targets) }
            return
        }
        if let bucket = nodes[at].tail { match(bucket, event, json, into: &targets) }
        let end = AddressPattern.segmentEnd(address, from: start)
        if nodes[at].any >= 0 { walk(nodes[at].any, address, from: end + 1, event, json, into: &targets) }
        guard nodes[at].children > 0 else { return }
        let segment = address.extracting(start..<end)
        if let child = child(of: at, segment, Self.hash(at, segment)) {
            walk(child, address, from: end + 1, event, json, into: &targets)
        }
    }

    private func match(_ bucket: Bucket, _ event: EventView, _ json: RawSpan, into targets: inout [Target]) {
        take(bucket, Key(agent: 0, type: 0), event, json, into: &targets)
        let agent = bucket.namesAgents > 0 ? Self.hash(json.extracting(event.agent)) : 0
        let type = bucket.namesTypes > 0 ? Self.hash(json.extracting(event.typeText)) : 0
        if agent != 0 { take(bucket, Key(agent: agent, type: 0), event, json, into: &targets) }
        if type != 0 { take(bucket, Key(agent: 0, type: type), event, json, into: &targets) }
        if agent != 0, type != 0 { take(bucket, Key(agent: agent, type: type), event, json, into: &targets) }
    }

    private func take(
        _ bucket: Bucket, _ key: Key, _ event: EventView, _ json: RawSpan, into targets: inout [Target]
    ) {
        guard let entries = bucket.entries[key] else { return }
        let isSure = key.agent == 0 && key.type == 0
        // Another text may have the same hash.
        for entry in entries where isSure || entry.filter.matches(event, json) { targets.append(entry.target) }
    }

    // MARK: - Keys

    private static func keys(of filter: Filter) -> [Key] {
        let agents = filter.agents.map { $0.map { hash($0.span.bytes) } } ?? [0]
        let types = filter.types.map { $0.map { hash($0.span.bytes) } } ?? [0]
        return Set(agents.flatMap { agent in types.map { Key(agent: agent, type: $0) } }).map { $0 }
    }

    private func child(of parent: Int, _ segment: RawSpan, _ hash: UInt64) -> Int? {
        guard let found = children[hash] else { return nil }
        return found.first { nodes[$0].parent == parent && segment.isEqual(to: nodes[$0].segment) }
    }

    /// Never zero, which stands for anything.
    private static func hash(_ text: RawSpan) -> UInt64 { XXH64.hash(text) | 1 }
    private static func hash(_ parent: Int, _ segment: RawSpan) -> UInt64 {
        XXH64.hash(segment, seed: UInt64(parent))
    }
}
