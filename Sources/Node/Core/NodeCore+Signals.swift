import CRDT
import Gossip

/// Reading signals.
extension NodeCore {
    func listSignals(
        _ request: RequestID, scope: String?, pattern: String?, minimum: Double, atMs: UInt64,
        into effects: inout Effects
    ) throws(NodeError) {
        try checkReadable(atMs)
        let (scopeText, patternText) = (scope.map(JSONText.canonical), pattern.map(JSONText.canonical))
        let entries = signals.entries(
            scope: scopeText, pattern: patternText, minimumStrength: minimum, atMs: atMs)
        let start = effects.bytes.count
        effects.bytes.append(UInt8(ascii: "["))
        for (i, entry) in entries.enumerated() {
            if i > 0 { effects.bytes.append(UInt8(ascii: ",")) }
            append(entry, into: &effects.bytes)
        }
        effects.bytes.append(UInt8(ascii: "]"))
        effects.list.append(.reply(request, Reply(status: 200, tick: atMs), body: start..<effects.bytes.count))
    }

    func showSignal(
        _ request: RequestID, scope: String, pattern: String, atMs: UInt64, into effects: inout Effects
    ) throws(NodeError) {
        try checkReadable(atMs)
        let entries = signals.entries(
            scope: JSONText.canonical(scope), pattern: JSONText.canonical(pattern), minimumStrength: 0, atMs: atMs)
        guard let entry = entries.first else {
            throw .notFound(
                "no signal for pattern \"\(pattern.prefix(64))\" in scope \"\(scope.prefix(64))\" at that time")
        }
        let start = effects.bytes.count
        append(entry, into: &effects.bytes)
        effects.list.append(.reply(request, Reply(status: 200, tick: atMs), body: start..<effects.bytes.count))
    }

    /// Operations older than a while are folded together: what was between them can no longer be told.
    private func checkReadable(_ atMs: UInt64) throws(NodeError) {
        guard atMs < signals.oldestReadableMs else { return }
        throw .gone(
            "signals can be read back to \(signals.oldestReadableMs) ms since the Unix epoch; ask for a later moment")
    }

    func append(_ entry: SignalMap.Entry, into out: inout [UInt8]) {
        append(
            scope: entry.scope, pattern: entry.pattern, strength: entry.reading.strength,
            updatedMs: entry.reading.lastUpdatedMs, into: &out)
    }

    /// A signal that is gone, for those who watched it fade.
    func appendFaded(_ key: SignalWatch.Key, atMs: UInt64, into out: inout [UInt8]) {
        append(scope: key.scope, pattern: key.pattern, strength: 0, updatedMs: atMs, into: &out)
    }

    private func append(
        scope: [UInt8], pattern: [UInt8], strength: Double, updatedMs: UInt64, into out: inout [UInt8]
    ) {
        // The same at every node: computed from what the signal is about.
        let scopeHash = XXH64.hash(scope.span.bytes)
        let id = UUID(
            computed: XXH64.hash(pattern.span.bytes, seed: scopeHash),
            XXH64.hash(pattern.span.bytes, seed: ~scopeHash))
        out.append(constant: "{\"id\":\"")
        id.write(into: &out)
        out.append(constant: "\",\"scope\":\"")
        out.append(contentsOf: scope)
        out.append(constant: "\",\"pattern\":\"")
        out.append(contentsOf: pattern)
        out.append(constant: "\",\"strength\":")
        out.append(json: strength)
        out.append(constant: ",\"last_updated\":\"")
        ISOTime.write(milliseconds: updatedMs, into: &out)
        out.append(constant: "\",\"alpha\":")
        out.append(json: Signal.defaultAlpha)
        out.append(constant: ",\"lambda\":")
        out.append(json: signals.lambda)
        out.append(UInt8(ascii: "}"))
    }
}
