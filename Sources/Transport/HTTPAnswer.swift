import Glibc

/// Header lines for an answer, made once and used often.
public struct HTTPHeaderLines: Sendable {
    /// Whole lines, each ending with CR LF.
    public private(set) var bytes: [UInt8] = []

    /// No lines.
    public init() {}

    /// Adds a line. Control bytes in `value` become spaces, so that no value can begin another line.
    public mutating func add(_ name: StaticString, _ value: String) {
        begin(name)
        for byte in value.utf8 { bytes.append(byte < 32 || byte == 127 ? 32 : byte) }
        end()
    }

    /// Adds a line. Control bytes in `value` become spaces, so that no value can begin another line.
    public mutating func add(_ name: StaticString, _ value: RawSpan) {
        begin(name)
        let start = bytes.count
        value.withUnsafeBytes { bytes.append(contentsOf: $0) }
        for i in start..<bytes.count where bytes[i] < 32 || bytes[i] == 127 { bytes[i] = 32 }
        end()
    }

    private mutating func begin(_ name: StaticString) {
        name.withUTF8Buffer { bytes.append(contentsOf: $0) }
        bytes.append(58)
        bytes.append(32)
    }

    private mutating func end() {
        bytes.append(13)
        bytes.append(10)
    }

    /// Forgets the lines and keeps the memory.
    public mutating func removeAll() { bytes.removeAll(keepingCapacity: true) }

    /// What browsers ask for with `OPTIONS` before they send a request to another origin, for any method and header.
    public static let preflight: HTTPHeaderLines = {
        var lines = HTTPHeaderLines()
        lines.add("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
        lines.add("Access-Control-Allow-Headers", "*, Authorization")
        lines.add("Access-Control-Max-Age", "86400")
        return lines
    }()
}

/// Writes the head of answers (RFC 9112, section 4; RFC 9110, section 6.6.1 for the date).
struct AnswerHead {
    /// What becomes of the connection. HTTP/1.1 keeps it without a word, HTTP/1.0 wants to be told.
    enum Keeping { case keep, keepOld, close }

    /// How the end of the body is told.
    enum Length {
        case bytes(Int)
        case chunked
        /// By the end of the connection.
        case untilClose
    }

    /// Lines that every answer carries.
    var standard: [UInt8] = []
    private var dateLine: [UInt8] = []
    private var dateSecond: UInt32?

    mutating func append(
        to out: inout ByteBuffer, status: UInt16, contentType: StaticString?, headers: borrowing RawSpan,
        length: Length, keeping: Keeping, second: UInt32, also more: StaticString = ""
    ) {
        if dateSecond != second {
            dateSecond = second
            dateLine = Array("Date: \(HTTPDate.text(unixSeconds: Int(WallClock.milliseconds() / 1_000)))\r\n".utf8)
        }
        out.append("HTTP/1.1 ")
        out.append(decimal: Int(status))
        out.append(" ")
        out.append(Self.reason(status))
        out.append("\r\n")
        if let contentType {
            out.append("Content-Type: ")
            out.append(contentType)
            out.append("\r\n")
        }
        // 204 has neither body nor length (RFC 9110, section 8.6).
        switch length {
        case .bytes(let count) where status != 204:
            out.append("Content-Length: ")
            out.append(decimal: count)
            out.append("\r\n")
        case .chunked: out.append("Transfer-Encoding: chunked\r\n")
        case .bytes, .untilClose: break
        }
        standard.withUnsafeBytes { out.append($0) }
        dateLine.withUnsafeBytes { out.append($0) }
        out.append(more)
        out.append(headers)
        switch keeping {
        case .keep: break
        case .keepOld: out.append("Connection: keep-alive\r\n")
        case .close: out.append("Connection: close\r\n")
        }
        out.append("\r\n")
    }

    /// The phrase for a status, for people who read the wire.
    static func reason(_ status: UInt16) -> StaticString {
        switch status {
        case 200: "OK"
        case 201: "Created"
        case 202: "Accepted"
        case 204: "No Content"
        case 304: "Not Modified"
        case 400: "Bad Request"
        case 401: "Unauthorized"
        case 403: "Forbidden"
        case 404: "Not Found"
        case 405: "Method Not Allowed"
        case 408: "Request Timeout"
        case 409: "Conflict"
        case 411: "Length Required"
        case 413: "Content Too Large"
        case 415: "Unsupported Media Type"
        case 417: "Expectation Failed"
        case 422: "Unprocessable Content"
        case 426: "Upgrade Required"
        case 429: "Too Many Requests"
        case 431: "Request Header Fields Too Large"
        case 500: "Internal Server Error"
        case 501: "Not Implemented"
        case 503: "Service Unavailable"
        case 504: "Gateway Timeout"
        case 505: "HTTP Version Not Supported"
        case 507: "Insufficient Storage"
        case 200..<300: "Success"
        case 400..<500: "Client Error"
        default: "Server Error"
        }
    }
}

/// Dates as HTTP writes them (RFC 9110, section 5.6.7).
enum HTTPDate {
    static func text(unixSeconds: Int) -> String {
        var time = time_t(unixSeconds)
        var parts = tm()
        gmtime_r(&time, &parts)
        let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
        return "\(days[Int(parts.tm_wday)]), \(two(parts.tm_mday)) \(months[Int(parts.tm_mon)]) "
            + "\(1900 + Int(parts.tm_year)) \(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec)) GMT"
    }
}
