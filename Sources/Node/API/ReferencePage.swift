internal import NodeCore

/// The table of routes as one page for people: no scripts, nothing from elsewhere.
enum ReferencePage {
    static let html = """
        <!DOCTYPE html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <title>Hypha \(NodeCore.version): the API</title>
        <style>\(style)</style>
        </head>
        <body>
        <nav>\(navigation)</nav>
        <main>
        <h1>Hypha \(NodeCore.version)</h1>
        <p>\(prose(OpenAPI.about)) For programs: <a href="/openapi.json">openapi.json</a>.</p>
        \(Endpoint.Tag.allCases.map(section).joined())
        \(headers)
        <section id="schemas"><h2>Schemas</h2>\(API.schemas.map(schema).joined())</section>
        </main>
        </body>
        </html>

        """

    // MARK: - Parts

    private static let navigation: String = {
        let parts = Endpoint.Tag.allCases.filter { !endpoints(of: $0).isEmpty }.map { tag in
            let routes = endpoints(of: tag).map { endpoint in
                """
                <li><a href="#\(endpoint.operationID)"><b class="\(endpoint.method.word)">\(endpoint.method.word)</b> \
                \(escaped(endpoint.template))</a></li>
                """
            }
            return """
                <details><summary><a href="#\(anchor(tag))">\(escaped(tag.rawValue))</a></summary>\
                <ul>\(routes.joined())</ul></details>
                """
        }
        return parts.joined()
            + "<p><a href=\"#headers\">Headers</a></p><p><a href=\"#schemas\">Schemas</a></p>"
    }()

    private static func endpoints(of tag: Endpoint.Tag) -> [Endpoint] { API.endpoints.filter { $0.tag == tag } }

    private static func anchor(_ tag: Endpoint.Tag) -> String {
        "tag-" + tag.rawValue.lowercased().map { $0 == " " ? "-" : String($0) }.joined()
    }

    private static func section(_ tag: Endpoint.Tag) -> String {
        let found = endpoints(of: tag)
        guard !found.isEmpty else { return "" }
        return """
            <section id="\(anchor(tag))"><h2>\(escaped(tag.rawValue))</h2>
            \(found.map(article).joined())</section>

            """
    }

    private static func article(_ endpoint: Endpoint) -> String {
        var parts = [
            """
            <article id="\(endpoint.operationID)">
            <h3><b class="\(endpoint.method.word)">\(endpoint.method.word)</b> <code>\(escaped(endpoint.template))</code>
            <a href="#\(endpoint.operationID)">\(escaped(endpoint.summary))</a></h3>
            """
        ]
        if !endpoint.about.isEmpty { parts.append("<p>\(prose(endpoint.about))</p>") }
        parts.append(parameters(endpoint))
        if let body = endpoint.body {
            let types = (["application/json"] + endpoint.otherTypes).map { "<code>\($0)</code>" }.joined(
                separator: ", ")
            parts.append("<h4>Body\(body.isRequired ? "" : ", optional"): \(types)</h4>\(shape(body.schema))")
        }
        let answers = endpoint.allAnswers.map { answer in
            let shown = answer.schema.map { $0.isError ? "" : shape($0) } ?? ""
            let type = answer.schema == nil || answer.type == "application/json" ? "" : " (<code>\(answer.type)</code>)"
            let headers = endpoint.headers(of: answer).map { "<a href=\"#headers\"><code>\($0)</code></a>" }
            let carried = headers.isEmpty ? "" : "<p class=\"quiet\">\(headers.joined(separator: " "))</p>"
            return "<tr><td>\(answer.status)</td><td>\(prose(answer.about))\(type)\(shown)\(carried)</td></tr>"
        }
        parts.append("<h4>Answers</h4><table>\(answers.joined())</table>")
        parts.append("<pre>\(escaped(Example.curl(endpoint)))</pre></article>\n")
        return parts.joined()
    }

    private static func parameters(_ endpoint: Endpoint) -> String {
        let common = endpoint.commonParameters.compactMap { key in
            Reference.parameters.first { $0.key == key }?.parameter
        }
        let rows = (endpoint.parameters + common).map { parameter in
            """
            <tr><td><code>\(escaped(parameter.name))</code></td><td>\(parameter.place.rawValue)\
            \(parameter.isRequired ? "" : ", optional")</td><td>\(shape(parameter.schema))</td>\
            <td>\(prose(parameter.about))</td></tr>
            """
        }
        return rows.isEmpty ? "" : "<h4>Parameters</h4><table>\(rows.joined())</table>"
    }

    private static let headers: String = {
        let rows = Reference.headers.map { header in
            """
            <tr><td><code>\(header.name)</code></td><td>\(shape(header.schema))</td><td>\(prose(header.about))</td></tr>
            """
        }
        return "<section id=\"headers\"><h2>Headers of answers</h2><table>\(rows.joined())</table></section>"
    }()

    private static func schema(_ schema: NamedSchema) -> String {
        "<article id=\"schema-\(schema.name)\"><h3>\(escaped(schema.name))</h3>\(shape(schema.schema))</article>\n"
    }

    // MARK: - Shapes

    /// A schema in a few words, or a table of its members.
    private static func shape(_ schema: Schema) -> String {
        switch schema {
        case .text(let format, let choices, let length, let pattern, let about):
            guard choices.isEmpty else {
                return choices.map { "<code>\(escaped($0))</code>" }.joined(separator: " | ") + note(about)
            }
            var words = "text"
            if let format { words += ", " + format }
            if let length { words += bounds(length) + " characters" }
            if let pattern { words += ", like <code>\(escaped(pattern))</code>" }
            return words + note(about)
        case .integer(let range, let about): return "whole number" + (range.map { bounds($0) } ?? "") + note(about)
        case .number(let range, let about):
            return "number" + (range.map { ", \($0.lowerBound) to \($0.upperBound)" } ?? "") + note(about)
        case .boolean(let about): return "true or false" + note(about)
        case .array(let element, let length):
            return "array\(length.map { " (\($0.lowerBound) to \($0.upperBound))" } ?? "") of " + shape(element)
        case .object(let properties, _, _): return properties.isEmpty ? "object" : table(properties)
        case .map(let value): return "object, each member " + shape(value)
        case .named(let name): return "<a href=\"#schema-\(name)\">\(escaped(name))</a>"
        case .anyOf(let schemas): return schemas.map(shape).joined(separator: " or ")
        case .optional(let schema): return shape(schema) + " or null"
        case .any: return "anything"
        }
    }

    private static func bounds(_ range: ClosedRange<Int>) -> String {
        range.upperBound == Int.max ? ", at least \(range.lowerBound)" : ", \(range.lowerBound) to \(range.upperBound)"
    }

    private static func note(_ about: String) -> String { about.isEmpty ? "" : ": " + prose(about) }

    private static func table(_ properties: [Schema.Property]) -> String {
        let rows = properties.map { property in
            """
            <tr><td><code>\(escaped(property.name))</code>\(property.isRequired ? "" : "<i>?</i>")</td>\
            <td>\(shape(property.schema))</td><td>\(prose(property.about))</td></tr>
            """
        }
        return "<table>\(rows.joined())</table>"
    }

    // MARK: - Text

    /// Text that cannot be taken for markup.
    static func escaped(_ text: String) -> String {
        var out = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": out += "&amp;"
            case "<": out += "&lt;"
            case ">": out += "&gt;"
            case "\"": out += "&quot;"
            case "'": out += "&#39;"
            default: out.unicodeScalars.append(scalar)
            }
        }
        return out
    }

    /// Text in which what stands between backticks is code.
    private static func prose(_ text: String) -> String {
        text.split(separator: "`", omittingEmptySubsequences: false).enumerated().map { i, part in
            i.isMultiple(of: 2) ? escaped(String(part)) : "<code>\(escaped(String(part)))</code>"
        }.joined()
    }

    private static let style = """
        :root{color-scheme:light dark;--line:#8884;--quiet:#888}
        body{margin:0;font:15px/1.5 system-ui,sans-serif;display:grid;grid-template-columns:20rem minmax(0,1fr)}
        nav{position:sticky;top:0;height:100vh;overflow:auto;padding:1rem;box-sizing:border-box;border-right:1px solid var(--line)}
        nav ul{list-style:none;margin:0 0 .5rem;padding:0 0 0 .5rem;font:12px/1.7 ui-monospace,monospace}
        nav li{white-space:nowrap}
        main{padding:1rem 2rem;max-width:70rem}
        a{color:inherit;text-decoration-color:var(--line)}
        article{border-top:1px solid var(--line);padding:.5rem 0 1rem;scroll-margin-top:1rem}
        h3{font-size:1rem;margin:.5rem 0}h4{margin:.8rem 0 .2rem;color:var(--quiet);font-weight:600}
        table{border-collapse:collapse}td{border-top:1px solid var(--line);padding:.15rem .8rem .15rem 0;vertical-align:top}
        code,pre{font:13px/1.5 ui-monospace,monospace}pre{background:#8881;padding:.6rem;overflow:auto}
        .quiet{color:var(--quiet);margin:0}i{color:var(--quiet)}
        b{font:700 12px ui-monospace,monospace}
        .GET{color:#2a7}.POST{color:#27c}.PUT{color:#a6c}.PATCH{color:#b80}.DELETE{color:#c44}
        @media(max-width:50rem){body{display:block}nav{position:static;height:auto;border:0}}
        """
}

extension Schema {
    /// Whether it says only what every refusal does.
    fileprivate var isError: Bool { if case .named("Error") = self { true } else { false } }
}
