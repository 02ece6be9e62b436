@testable import NodeCore

extension NodeWorld {
    /// Asks something of Soorma's registry.
    mutating func ask(_ i: Int, registry request: ServiceRegistryRequest, _ body: String = "") -> Answer {
        ask(i, .soorma(.registry(request)), body)
    }

    /// Asks something of Soorma's tracker.
    mutating func ask(
        _ i: Int, tracker request: TrackerRequest, of tenancy: Tenancy = .init(), _ body: String = ""
    ) -> Answer {
        ask(i, .soorma(.tracker(request, tenancy)), body)
    }

    /// Asks something of Soorma's memory.
    mutating func ask(_ i: Int, memory request: MemoryRequest, _ body: String = "") -> Answer {
        ask(i, .soorma(.memory(request, .init())), body)
    }
}
