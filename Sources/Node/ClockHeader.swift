internal import CRDT
internal import Transport

/// The header `Hypha-Clock` is not what an answer gave.
struct BadClock: Error {
    /// What is wrong and what to do.
    let message: String
}

/// What a client has seen, as it says in the header `Hypha-Clock`.
enum ClockHeader {
    /// Joins what all headers of that name say, each one text or several between commas; nil if there is none.
    static func read(_ head: HTTPHead, _ bytes: RawSpan) throws(BadClock) -> CompactVector? {
        var clock: CompactVector?
        var problem: DecodeError?
        head.eachListItem(of: "hypha-clock", in: bytes) { range in
            do throws(DecodeError) {
                let one = try CompactVector(text: bytes.extracting(range))
                if clock == nil { clock = one } else { clock?.merge(one) }
            } catch {
                problem = problem ?? error
            }
        }
        guard let problem else { return clock }
        throw BadClock(
            message: "Hypha-Clock is no clock of an answer (\(problem)); send it back unchanged, several with commas "
                + "between them, or leave the header out")
    }
}
