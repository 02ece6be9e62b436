import Foundation
import NodeCore
import Testing
import Transport

@testable import Node

/// The repository's root, from where this file stands.
private let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent()

extension Schema {
    /// The names of schemas that it stands on.
    fileprivate var named: [String] {
        switch self {
        case .named(let name): [name]
        case .array(let element, _): element.named
        case .map(let value): value.named
        case .optional(let schema): schema.named
        case .anyOf(let schemas): schemas.flatMap(\.named)
        case .object(let properties, _, _): properties.flatMap(\.schema.named)
        case .text, .integer, .number, .boolean, .any: []
        }
    }

    /// The names of members that stand twice in one object.
    fileprivate var repeated: [String] {
        switch self {
        case .array(let element, _): element.repeated
        case .map(let value): value.repeated
        case .optional(let schema): schema.repeated
        case .anyOf(let schemas): schemas.flatMap(\.repeated)
        case .object(let properties, _, _):
            Dictionary(grouping: properties, by: \.name).filter { $0.value.count > 1 }.map(\.key)
                + properties.flatMap(\.schema.repeated)
        case .text, .integer, .number, .boolean, .any, .named: []
        }
    }
}

extension Endpoint {
    fileprivate var title: String { "\(method.word) \(path)" }

    fileprivate var schemas: [Schema] {
        parameters.map(\.schema) + (body.map { [$0.schema] } ?? []) + answers.compactMap(\.schema)
    }
}

@Suite("The reference says what is served")
struct ReferenceTests {
    @Test("Each endpoint is described, and its path's values are", arguments: API.endpoints.indices)
    func endpoint(at index: Int) {
        let endpoint = API.endpoints[index]
        let title = Comment(rawValue: endpoint.title)
        #expect(!endpoint.summary.isEmpty && endpoint.summary.last != ".", title)
        #expect(endpoint.about.isEmpty || ".)`".contains(endpoint.about.last ?? "."), title)
        let inPath = endpoint.parameters.filter { $0.place == .path }
        #expect(inPath.map(\.name) == endpoint.pathNames, title)
        #expect(inPath.filter { !$0.isRequired }.isEmpty, title)
        let names = endpoint.parameters.map { "\($0.place) \($0.name)" }
        #expect(Set(names).count == names.count, title)
        for parameter in endpoint.parameters {
            #expect(!parameter.about.isEmpty, "\(endpoint.title): \(parameter.name)")
        }
        #expect(endpoint.body == nil || [.post, .put, .patch, .delete].contains(endpoint.method), title)
        #expect(endpoint.answers.contains { $0.status < 300 }, title)
        #expect(Set(endpoint.answers.map(\.status)).count == endpoint.answers.count, title)
        for answer in endpoint.answers {
            #expect(!answer.about.isEmpty, title)
            #expect((answer.schema == nil) == [101, 204].contains(answer.status), "\(endpoint.title) \(answer.status)")
        }
        for name in endpoint.headers { #expect(Reference.headers.contains { $0.name == name }, title) }
        #expect(endpoint.schemas.flatMap(\.repeated).isEmpty, title)
    }

    @Test("No two endpoints have one method and path, nor one name")
    func unique() {
        let routes = API.endpoints.map { "\($0.method.word) \($0.template)" }
        #expect(Set(routes).count == routes.count)
        #expect(Set(API.endpoints.map(\.operationID)).count == API.endpoints.count)
    }

    @Test("Every named schema exists once, and somebody stands on it")
    func schemas() {
        let names = API.schemas.map(\.name)
        #expect(Set(names).count == names.count)
        let used = Set((API.endpoints.flatMap(\.schemas) + API.schemas.map(\.schema)).flatMap(\.named))
        #expect(used.subtracting(names).isEmpty)
        #expect(Set(names).subtracting(used).isEmpty)
        #expect(API.schemas.flatMap(\.schema.repeated).isEmpty)
    }

    @Test("All references of the OpenAPI document and all links of the page lead somewhere")
    func links() throws {
        let text = String(decoding: Reference.openAPI.bytes, as: UTF8.self)
        let document = try JSONValue(Reference.openAPI.bytes)
        for match in text.matches(of: /"\$ref":"#\/components\/([a-z]+)\/([A-Za-z0-9-]+)"/) {
            #expect(document["components"]?[String(match.1)]?[String(match.2)] != nil, "\(match.0)")
        }
        let page = String(decoding: Reference.page.bytes, as: UTF8.self)
        let anchors = Set(page.matches(of: /id="([^"]+)"/).map { String($0.1) })
        let wanted = Set(page.matches(of: /href="#([^"]+)"/).map { String($0.1) })
        #expect(wanted.subtracting(anchors).isEmpty)
        #expect(wanted.count > API.endpoints.count)
        #expect(!page.contains("<script") && !page.contains("src="))
    }

    @Test("Every endpoint stands in both")
    func whole() throws {
        let document = try JSONValue(Reference.openAPI.bytes)
        let page = String(decoding: Reference.page.bytes, as: UTF8.self)
        for endpoint in API.endpoints {
            let operation = document["paths"]?[endpoint.template]?[endpoint.method.word.lowercased()]
            #expect(operation?["summary"]?.string == endpoint.summary, "\(endpoint.title)")
            #expect(page.contains("<article id=\"\(endpoint.operationID)\">"), "\(endpoint.title)")
        }
    }

    @Test("A schema is written as JSON Schema has it")
    func schema() {
        let schema = Schema.object(
            [
                .required("id", .uuid, "Whose."), .maybe("n", .optional(.integer(0...3))),
                .maybe("all", .array(.named("X"), length: 1...2)),
            ], isOpen: false)
        let expected = """
            {"type":"object","properties":{"id":{"type":"string","format":"uuid","description":"Whose."},\
            "n":{"anyOf":[{"type":"integer","minimum":0,"maximum":3},{"type":"null"}]},\
            "all":{"type":"array","items":{"$ref":"#/components/schemas/X"},"minItems":1,"maxItems":2}},\
            "required":["id"],"additionalProperties":false}
            """
        #expect(String(decoding: schema.json.encoded(), as: UTF8.self) == expected)
    }

    @Test("Text on the page is no markup")
    func escaping() {
        #expect(ReferencePage.escaped("<a href='x'>\"&</a>") == "&lt;a href=&#39;x&#39;&gt;&quot;&amp;&lt;/a&gt;")
    }

    @Test("Every path that the README and the pages in docs name is served, with the method that they name")
    func documentation() throws {
        let docs = try FileManager.default.contentsOfDirectory(atPath: root.appending(path: "docs").path())
            .filter { $0.hasSuffix(".md") }.map { "docs/\($0)" }
        let pattern = try NSRegularExpression(
            pattern: #"(?:\b(GET|POST|PUT|PATCH|DELETE) )?(?<![\w.\]…*-])"#
                + #"(/(?:api|agents|health|metrics|ws|docs|openapi\.json)(?:/[A-Za-z0-9_{}.%~-]+)*)(?![\w/…*]|\.[a-z])"#
        )
        var seen = 0
        for path in ["README.md"] + docs {
            let text = try String(contentsOf: root.appending(path: path), encoding: .utf8)
            for match in pattern.matches(in: text, range: NSRange(text.startIndex..., in: text)) {
                guard let found = Range(match.range(at: 2), in: text) else { continue }
                var named = String(text[found])
                while named.last == "." { named.removeLast() }
                guard named != "/api", named != "/docs" else { continue }
                seen += 1
                let bytes = Array(named.utf8)
                let place = Router.whole.find(bytes.span.bytes, 0..<bytes.count)
                #expect(place != nil, "\(path) names \(named), which no node serves")
                if let method = Range(match.range(at: 1), in: text) {
                    #expect(
                        place?.allow.contains(text[method]) ?? true, "\(path): \(text[method]) \(named) is not served")
                }
            }
        }
        #expect(seen > 60)
    }
}
