import CRDT

/// How all of Soorma's services answer.
extension NodeCore {
    /// Answers with what `body` appends.
    func show(
        _ request: RequestID, _ reply: Reply = Reply(status: 200), into effects: inout Effects,
        _ body: (inout [UInt8]) -> Void
    ) {
        let start = effects.bytes.count
        body(&effects.bytes)
        effects.list.append(.reply(request, reply, body: start..<effects.bytes.count))
    }

    /// Answers with a JSON value.
    func show(
        _ request: RequestID, _ value: JSONValue, _ reply: Reply = Reply(status: 200), into effects: inout Effects
    ) {
        show(request, reply, into: &effects) { $0 += value.encoded() }
    }

    /// Answers with an array, or with an object that has it and its `count`; see `append(list:)`.
    func showList<Items: Sequence>(
        _ request: RequestID, under name: StaticString? = nil, _ items: Items, into effects: inout Effects,
        _ append: (Items.Element, inout [UInt8]) -> Void
    ) {
        show(request, into: &effects) { out in
            guard let name else {
                out.append(list: items, append)
                return
            }
            out.append(constant: "{\"")
            out.append(constant: name)
            out.append(constant: "\":")
            let count = out.append(list: items, append)
            out.append(constant: ",\"count\":")
            out.append(json: count)
            out.append(UInt8(ascii: "}"))
        }
    }

    /// Says without a body that something is gone.
    func showGone(_ request: RequestID, _ stamp: HybridTimestamp, into effects: inout Effects) {
        effects.list.append(.reply(request, Reply(status: 204, stamp: stamp), body: 0..<0))
    }
}

extension [UInt8] {
    /// Appends an array of what `append` makes of the items, which is left out where that is nothing, until it is as long as
    /// an answer may be. Returns how many elements it has.
    @discardableResult
    mutating func append<Items: Sequence>(
        list items: Items, _ append: (Items.Element, inout [UInt8]) -> Void
    ) -> Int {
        let start = count
        var elements = 0
        self.append(UInt8(ascii: "["))
        for item in items {
            guard count - start < NodeCore.maximumListBytes else { break }
            let end = count
            if elements > 0 { self.append(UInt8(ascii: ",")) }
            let here = count
            append(item, &self)
            if count == here { removeLast(here - end) } else { elements += 1 }
        }
        self.append(UInt8(ascii: "]"))
        return elements
    }
}

extension NodeError {
    /// Something does not fit, which its service counts.
    static func noRoom(_ refused: inout Int, _ message: String) -> NodeError {
        refused += 1
        return NodeError(status: 507, message: message)
    }
}
