import Gossip
import Testing

@testable import NodeCore

extension NodeWorld {
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
