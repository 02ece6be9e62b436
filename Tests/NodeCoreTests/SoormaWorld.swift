import Gossip
import Testing

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

    /// Asks Soorma's memory service something.
    mutating func remember(
        _ i: Int, _ request: MemoryRequest, of tenancy: Tenancy = Tenancy(), _ body: String = ""
    ) -> Answer {
        ask(i, .soorma(.memory(request, tenancy)), body)
    }

    /// A moment passes, so that stamps tell which write came first.
    mutating func later() {
        deliver()
        now = now.advanced(milliseconds: 1)
    }

    /// How far a node's documents would be written to if this were asked.
    mutating func isWritten(_ i: Int, _ body: (inout NodeWorld) -> Answer) -> Bool {
        let before = written(i)
        #expect(body(&self).status == 200)
        return written(i) != before
    }
}
