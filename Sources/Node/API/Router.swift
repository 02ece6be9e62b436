internal import NodeCore
internal import Transport

/// Finds endpoints by path and method: the templates of the table as a tree of segments, made once. What is written out in a
/// template goes before what takes any segment, and that before what takes several; where a path is found, no other
/// template is tried.
struct Router: Sendable {
    /// All that a node serves.
    static let whole = Router(API.endpoints)
    /// The same, and what only tests ask for.
    static let withTests = Router(API.endpoints + API.testEndpoints)

    /// A path that is served.
    struct Match {
        private let place: Place
        /// Where the values of its template lie, still percent-encoded.
        private let values: [Range<Int>]

        fileprivate init(_ place: Place, _ values: [Range<Int>]) {
            self.place = place
            self.values = values
        }

        /// The value of `Allow`.
        var allow: String { place.allow }

        /// The endpoint for a method, and the values in the path by their names in its template, decoded.
        func endpoint(_ method: HTTPMethod, _ bytes: RawSpan) -> (endpoint: Endpoint, values: [String: String])? {
            guard let found = place.endpoints.first(where: { $0.endpoint.method == method }) else { return nil }
            var named: [String: String] = [:]
            for (name, range) in zip(found.names, values) { named[name] = PercentEncoding.decode(bytes, range) }
            return (found.endpoint, named)
        }
    }

    /// Where templates end.
    fileprivate struct Place: Sendable {
        private(set) var endpoints: [(endpoint: Endpoint, names: [String])] = []

        mutating func add(_ endpoint: Endpoint) { endpoints.append((endpoint, endpoint.pathNames)) }

        var allow: String {
            let order: [HTTPMethod] = [.get, .post, .put, .patch, .delete]
            let methods = order.filter { method in endpoints.contains { $0.endpoint.method == method } }
            return (methods.map { $0 == .get ? "GET, HEAD" : $0.word } + ["OPTIONS"]).joined(separator: ", ")
        }
    }

    /// What may follow a beginning of templates.
    private struct Node: Sendable {
        var words: [(text: [UInt8], node: Int)] = []
        /// Behind any one segment.
        var one: Int?
        /// Behind several: the words that follow them, the longest first.
        var several: [(tail: [[UInt8]], place: Int)] = []
        var place: Int?
    }

    private var nodes = [Node()]
    private var places: [Place] = []

    init(_ endpoints: [Endpoint]) {
        for endpoint in endpoints { add(endpoint) }
    }

    private mutating func add(_ endpoint: Endpoint) {
        let parts = endpoint.path.split(separator: "/")
        var node = 0
        for (i, part) in parts.enumerated() {
            if part.hasSuffix("...}") {
                let tail = parts[(i + 1)...].map { Array($0.utf8) }
                guard let known = nodes[node].several.firstIndex(where: { $0.tail == tail }) else {
                    nodes[node].several.append((tail, newPlace(endpoint)))
                    return nodes[node].several.sort { $0.tail.count > $1.tail.count }
                }
                return places[nodes[node].several[known].place].add(endpoint)
            }
            let word = Array(part.utf8)
            let next = part.first == "{" ? nodes[node].one : nodes[node].words.first { $0.text == word }?.node
            if let next {
                node = next
                continue
            }
            nodes.append(Node())
            let new = nodes.count - 1
            if part.first == "{" { nodes[node].one = new } else { nodes[node].words.append((word, new)) }
            node = new
        }
        guard let place = nodes[node].place else { return nodes[node].place = newPlace(endpoint) }
        places[place].add(endpoint)
    }

    private mutating func newPlace(_ endpoint: Endpoint) -> Int {
        places.append(Place())
        places[places.count - 1].add(endpoint)
        return places.count - 1
    }

    /// What a path serves; nil for nothing. The path has to be valid percent-encoded UTF-8. A slash at its end does not
    /// matter.
    func find(_ bytes: RawSpan, _ path: Range<Int>) -> Match? {
        var segments: [Range<Int>] = []
        segments.reserveCapacity(8)
        PercentEncoding.forEachSegment(bytes, path) { segments.append($0) }
        if segments.count > 1, segments.last?.isEmpty == true { segments.removeLast() }
        var values: [Range<Int>] = []
        guard let place = find(bytes, segments[...], from: 0, &values) else { return nil }
        return Match(places[place], values)
    }

    private func find(
        _ bytes: RawSpan, _ path: ArraySlice<Range<Int>>, from node: Int, _ values: inout [Range<Int>]
    ) -> Int? {
        guard let segment = path.first else { return nodes[node].place }
        for (text, next) in nodes[node].words where Self.says(bytes, segment, text) {
            if let place = find(bytes, path.dropFirst(), from: next, &values) { return place }
        }
        if let next = nodes[node].one, !segment.isEmpty {
            let known = values.count
            values.append(segment)
            if let place = find(bytes, path.dropFirst(), from: next, &values) { return place }
            values.removeLast(values.count - known)
        }
        for (tail, place) in nodes[node].several where path.count > tail.count {
            let end = path.endIndex - tail.count
            let value = segment.lowerBound..<path[end - 1].upperBound
            if !value.isEmpty, zip(path[end...], tail).allSatisfy({ Self.says(bytes, $0, $1) }) {
                values.append(value)
                return place
            }
        }
        return nil
    }

    /// Whether a segment is this word, escaped or not.
    private static func says(_ bytes: RawSpan, _ segment: Range<Int>, _ word: [UInt8]) -> Bool {
        var isEscaped = false
        for at in segment {
            let byte = bytes.unsafeLoad(fromByteOffset: at, as: UInt8.self)
            if byte == UInt8(ascii: "%") {
                isEscaped = true
                break
            }
            let i = at - segment.lowerBound
            guard i < word.count, word[i] == byte else { return false }
        }
        guard isEscaped else { return segment.count == word.count }
        return PercentEncoding.decode(bytes, segment).map { $0.utf8.elementsEqual(word) } ?? false
    }
}

extension Endpoint {
    /// The names in its template, in order.
    var pathNames: [String] {
        path.split(separator: "/").filter { $0.first == "{" }.map { part in
            String(part.dropFirst().prefix { $0 != "}" && $0 != "." })
        }
    }
}

extension HTTPMethod {
    /// As it is written.
    var word: String {
        switch self {
        case .get: "GET"
        case .head: "HEAD"
        case .post: "POST"
        case .put: "PUT"
        case .patch: "PATCH"
        case .delete: "DELETE"
        case .options: "OPTIONS"
        case .other: "?"
        }
    }
}
