import CRDT
import Gossip

/// What Soorma's SDKs ask (docs/soorma.md): each service is a view in a room of its own.
extension NodeCore {
    /// Hands a request to its service.
    mutating func answer(
        _ id: RequestID, _ request: SoormaRequest, _ bytes: RawSpan, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        switch request {
        case .events(let request): try answer(id, request, bytes, now: now, into: &effects)
        case .registry(let request): try answer(id, request, bytes, now: now, into: &effects)
        case .memory(let request, let tenancy):
            try answer(id, request, of: tenancy, bytes, now: now, into: &effects)
        case .recall(let request, let tenancy):
            try answer(id, request, of: tenancy, bytes, now: now, into: &effects)
        case .tracker(let request, let tenancy):
            try answer(id, request, of: tenancy, bytes, now: now, into: &effects)
        }
    }
}
