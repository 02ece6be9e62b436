/// What one subscription asks for, as the checkers understand it: the addresses, types and agents of this world that it
/// covers, worked out once and apart from the node's own filters.
struct Interest: Equatable, Sendable {
    /// The filter as clients send it.
    let json: String
    /// Bits by the places in `Crowd.addresses` and `Crowd.types`, and by the numbers of agents.
    private let addresses: UInt64
    private let types: UInt64
    private let agents: UInt64

    /// Every SEMP event; every bus event.
    static let events = Interest()
    static let bus = Interest(topic: ">")

    /// `scope` and `topic` are patterns; with a topic it is about bus events.
    init(scope: String? = nil, topic: String? = nil, types: [String]? = nil, agents: [Int]? = nil) {
        func bits(_ places: some Sequence<Int>) -> UInt64 { places.reduce(0) { $0 | 1 << UInt64($1) } }
        func list(_ texts: [String]) -> String { texts.map { "\"\($0)\"" }.joined(separator: ",") }
        let isBus = topic != nil
        addresses = bits(
            Crowd.addresses.indices.filter { place in
                guard isBus == (place >= Crowd.scopes.count) else { return false }
                return (scope ?? topic).map { Interest.covers($0, Crowd.addresses[place]) } ?? true
            })
        self.types = types.map { names in bits(Crowd.types.indices.filter { names.contains(Crowd.types[$0]) }) } ?? .max
        self.agents = agents.map { bits($0) } ?? .max
        let members = [
            scope.map { "\"scope\":\"\($0)\"" }, topic.map { "\"topic\":\"\($0)\"" },
            types.map { "\"types\":[\(list($0))]" }, agents.map { "\"agents\":[\(list($0.map { "agent-\($0)" }))]" },
        ]
        json = "{\(members.compactMap { $0 }.joined(separator: ","))}"
    }

    /// Whether it is about what was posted.
    func wants(_ traits: Traits) -> Bool {
        addresses >> UInt64(traits.address) & 1 == 1 && types >> UInt64(traits.type) & 1 == 1
            && (agents == .max || traits.agent < 64 && agents >> UInt64(traits.agent) & 1 == 1)
    }

    /// Whether a pattern covers an address: `*` stands for one segment, `>` at the end for one or more.
    static func covers(_ pattern: String, _ address: String) -> Bool {
        let wanted = pattern.split(separator: ".", omittingEmptySubsequences: false)
        let given = address.split(separator: ".", omittingEmptySubsequences: false)
        if wanted.last == ">" {
            guard given.count >= wanted.count else { return false }
            return zip(wanted.dropLast(), given).allSatisfy { $0 == "*" || $0 == $1 }
        }
        return wanted.count == given.count && zip(wanted, given).allSatisfy { $0 == "*" || $0 == $1 }
    }
}

/// What filters look at in one thing that was posted.
struct Traits: Equatable, Sendable {
    /// Places in `Crowd.addresses` and `Crowd.types`, and the number of the agent.
    var address = 0
    var type = 0
    var agent = 0

    init() {}

    init(_ address: String, _ type: String, _ agent: Int) {
        self.address = Crowd.addresses.firstIndex(of: address) ?? 0
        self.type = Crowd.types.firstIndex(of: type) ?? 0
        self.agent = agent
    }

    /// Whether it is a bus event.
    var isBus: Bool { address >= Crowd.scopes.count }
}
