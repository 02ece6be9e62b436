internal import NodeCore
internal import Transport

/// Finds endpoints by method and path.
enum Router {
    /// What a path serves: the endpoints by their methods, and the values in the path for each.
    static func find(_ path: [String]) -> [(endpoint: Endpoint, values: [String: String])] {
        API.endpoints.compactMap { endpoint in match(endpoint.path, path).map { (endpoint, $0) } }
    }

    private static func match(_ template: String, _ path: [String]) -> [String: String]? {
        let parts = template.split(separator: "/")
        var values: [String: String] = [:]
        for (i, part) in parts.enumerated() {
            guard i < path.count else { return nil }
            if part.hasSuffix("...}") {
                values[String(part.dropFirst().dropLast(4))] = path[i...].joined(separator: "/")
                return values
            }
            if part.first == "{" {
                guard !path[i].isEmpty else { return nil }
                values[String(part.dropFirst().dropLast())] = path[i]
            } else if !part.utf8.elementsEqual(path[i].utf8) {
                return nil
            }
        }
        return parts.count == path.count ? values : nil
    }
}
