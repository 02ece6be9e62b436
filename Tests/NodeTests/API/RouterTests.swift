import Testing
import Transport

@testable import Node

/// What the tree makes of a path.
private func find(_ path: String) -> Router.Match? {
    let bytes = Array(path.utf8)
    return Router.withTests.find(bytes.span.bytes, 0..<bytes.count)
}

/// The template and the values that a request is answered by.
private func route(_ method: HTTPMethod, _ path: String) -> (template: String, values: [String: String])? {
    let bytes = Array(path.utf8)
    let span = bytes.span.bytes
    guard let found = Router.withTests.find(span, 0..<bytes.count)?.endpoint(method, span) else { return nil }
    return (found.endpoint.path, found.values)
}

@Suite("Routes are found")
struct RouterTests {
    @Test("Each endpoint of the table is found by its template, with the values of its path")
    func everyEndpoint() {
        for endpoint in API.endpoints + API.testEndpoints {
            let names = endpoint.pathNames
            let parts = endpoint.path.split(separator: "/").map { part in
                part.first == "{" ? "v%20-\(names.firstIndex { part.contains($0) } ?? 9)" : String(part)
            }
            let path = "/" + parts.joined(separator: "/")
            let found = route(endpoint.method, path)
            #expect(found?.template == endpoint.path, "\(path)")
            #expect(Set(found?.values.keys ?? [:].keys) == Set(names), "\(path)")
            for value in found?.values.values ?? [:].values { #expect(value.hasPrefix("v -"), "\(path)") }
            #expect(route(endpoint.method, path + "/")?.template == endpoint.path, "a slash at the end of \(path)")
        }
    }

    @Test("Slashes in a value come encoded, or plain where the template says so")
    func slashes() {
        #expect(route(.get, "/api/events/scope/a/b%2Fc")?.values == ["scope": "a/b/c"])
        #expect(route(.get, "/api/events/scope//a")?.values == ["scope": "/a"])
        #expect(route(.get, "/api/events/scope/a/")?.values == ["scope": "a"])
        #expect(route(.post, "/api/bus/mailbox/team/ada/take")?.values == ["agent": "team/ada"])
        #expect(route(.delete, "/api/bus/mailbox/team/ada")?.values == ["agent": "team/ada"])
        #expect(route(.get, "/api/signals/a%2Fb/c")?.values == ["scope": "a/b", "pattern": "c"])
        #expect(find("/api/signals/a/b/c") == nil)
    }

    @Test("What is written out goes before a value, and a value before several")
    func precedence() {
        #expect(route(.get, "/api/bus/history")?.template == "/api/bus/history")
        #expect(route(.get, "/api/events/scope")?.values == ["id": "scope"])
        #expect(route(.get, "/api/events/scope/")?.values == ["id": "scope"])
        // A mailbox may be called `a/take`, but closing it must not be what a mistaken method does.
        #expect(find("/api/bus/mailbox/a/take")?.allow == "POST, OPTIONS")
        #expect(find("/api/bus/mailbox/take")?.allow == "DELETE, OPTIONS")
    }

    @Test("Methods that are not served are told from paths that are not", arguments: ["/api/nodes", "/api/%6eodes"])
    func methods(path: String) {
        #expect(find(path)?.allow == "GET, HEAD, POST, OPTIONS")
        #expect(route(.put, path) == nil)
    }

    @Test(
        "What is no route is none",
        arguments: [
            "/", "//", "/api", "/api/", "/api//events", "/api/nodes/", "/Api/events", "/api/event", "/api/eventss",
            "/api/events/a/b", "/ws/echo/x", "/api/groups//ack", "/api/events/scope//", "*",
        ])
    func strangers(path: String) {
        let found = find(path)
        #expect(found == nil || (path == "/api/nodes/" && found?.allow == "GET, HEAD, POST, OPTIONS"), "\(path)")
    }

    @Test("The echo of tests is served only to tests")
    func echo() {
        let path = Array("/ws/echo".utf8)
        #expect(route(.get, "/ws/echo") != nil)
        let found = Router.whole.find(path.span.bytes, 0..<path.count)
        #expect(found == nil)
    }
}
