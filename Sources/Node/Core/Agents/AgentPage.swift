import CRDT

/// The public profile as a page for people: no scripts, nothing from elsewhere, every text escaped.
extension AgentView {
    private static let style =
        "body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1rem;color:#1c2126;"
        + "background:#fafaf7}h1{margin-bottom:0;overflow-wrap:anywhere}.state{color:#5a6470;margin-top:.25rem}"
        + ".online{color:#1d7a46}ul{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:.4rem}"
        + "li{background:#e8ece4;border-radius:1rem;padding:.1rem .8rem;overflow-wrap:anywhere}"
        + "dt{color:#5a6470;margin-top:.6rem}dd{margin:0;overflow-wrap:anywhere;white-space:pre-wrap}"
        + "@media(prefers-color-scheme:dark){body{color:#e6e8e3;background:#15191c}li{background:#2b3430}"
        + ".state,dt{color:#9aa5ad}.online{color:#6bd497}a{color:#8fc1ff}}"

    func appendPage(isOnline: Bool, into out: inout [UInt8]) {
        let name = profile.first { $0.name.elementsEqual("name".utf8) }.flatMap { $0.value.span.bytes.jsonText }
        let title = name.flatMap { $0.isEmpty ? nil : $0 } ?? Array(id.utf8)
        out += "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">".utf8
        out += "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src ".utf8
        out += "'unsafe-inline'; base-uri 'none'; form-action 'none'\">".utf8
        out += "<meta name=\"viewport\" content=\"width=device-width\"><meta name=\"referrer\" ".utf8
        out += "content=\"no-referrer\"><title>".utf8
        out.append(html: title)
        out += "</title><style>\(Self.style)</style></head><body><main><h1>".utf8
        out.append(html: title)
        out += "</h1><p class=\"state\">".utf8
        out.append(html: Array(id.utf8))
        out += " · ".utf8
        out.append(html: Array(statusText.utf8))
        out += isOnline ? " · <span class=\"online\">online</span></p>".utf8 : " · offline</p>".utf8
        if !profile.isEmpty {
            out += "<dl>".utf8
            for member in profile {
                out += "<dt>".utf8
                out.append(html: member.name)
                out += "</dt><dd>".utf8
                Self.append(shown: member.value, into: &out)
                out += "</dd>".utf8
            }
            out += "</dl>".utf8
        }
        if !resources.isEmpty {
            out += "<h2>Resources</h2><ul>".utf8
            for resource in resources {
                out += "<li>".utf8
                out.append(html: resource)
                out += "</li>".utf8
            }
            out += "</ul>".utf8
        }
        out += "</main></body></html>\n".utf8
    }

    /// A text as it is, and as a link where it is an address of the web; anything else as JSON.
    private static func append(shown value: [UInt8], into out: inout [UInt8]) {
        guard let text = value.span.bytes.jsonText else { return out.append(html: value) }
        let isAddress = ["https://", "http://"].contains { text.starts(with: $0.utf8) }
        guard isAddress, !text.contains(where: { $0 <= 0x20 }) else { return out.append(html: text) }
        out += "<a rel=\"nofollow noopener noreferrer\" href=\"".utf8
        out.append(html: text)
        out += "\">".utf8
        out.append(html: text)
        out += "</a>".utf8
    }
}

extension [UInt8] {
    /// Appends a text so that HTML shows it, in an element or a quoted attribute.
    mutating func append(html text: [UInt8]) {
        for byte in text {
            switch byte {
            case UInt8(ascii: "&"): append(contentsOf: "&amp;".utf8)
            case UInt8(ascii: "<"): append(contentsOf: "&lt;".utf8)
            case UInt8(ascii: ">"): append(contentsOf: "&gt;".utf8)
            case UInt8(ascii: "\""): append(contentsOf: "&quot;".utf8)
            case UInt8(ascii: "'"): append(contentsOf: "&#39;".utf8)
            default: append(byte)
            }
        }
    }
}
