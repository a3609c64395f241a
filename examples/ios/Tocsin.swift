// The device's calls over plain HTTP, for the app and its extension: docs/clients.md, "Plain HTTP".

import Foundation
import Security

enum Tocsin {
    static let service = URL(string: "https://push.example.com")!
    static let sdkappid = 1_400_000_001
    static let appkey = "APPKEY"
    static let credential = 1  // certificate ID: `tocsin credential list`
    static let accessGroup = "TEAMID.com.example.app.shared"

    struct Identity: Codable {
        let registration_id: String
        let secret: String
    }

    /// Register the device, or tell a new token; the answer's secret is told only the first time.
    static func register(token: Data) {
        var body: [String: Any] = [
            "sdkappid": sdkappid,
            "appkey": appkey,
            "route": [
                "channel": "apns",
                "credential": credential,
                "token": token.map { String(format: "%02x", $0) }.joined(),
                "environment": environment,
            ],
            "facts": ["platform": "iPhone", "language": Locale.preferredLanguages.first ?? ""],
        ]
        let before = identity
        if let before {
            body["registration_id"] = before.registration_id
            body["secret"] = before.secret
        }
        call("register", body) { answer in
            guard let answer else { return }  // no answer: the next start of the app tries again
            let code = answer["ErrorCode"] as? Int ?? 0
            if before != nil, code == 800101 || code == 800103 {
                identity = nil  // the service does not know us any more: become a new device
                register(token: token)
            } else if code == 0, let name = answer["registration_id"] as? String {
                let told = answer["secret"] as? String ?? ""
                identity = Identity(
                    registration_id: name, secret: told.isEmpty ? before?.secret ?? "" : told)
            }
        }
    }

    /// Report `reached` or `clicked` of a push that Apple brought. What gets no answer may be
    /// reported again.
    static func report(taskID: String, stage: String, done: @escaping () -> Void = {}) {
        guard let identity else { return done() }
        let body: [String: Any] = [
            "sdkappid": sdkappid,
            "registration_id": identity.registration_id,
            "secret": identity.secret,
            "task_id": taskID,
            "stage": stage,
            "channel": "apns",
        ]
        call("report", body) { _ in done() }
    }

    private static var environment: String {
        #if DEBUG
        return "development"
        #else
        return "production"
        #endif
    }

    private static func call(
        _ name: String, _ body: [String: Any], done: @escaping ([String: Any]?) -> Void
    ) {
        var request = URLRequest(url: service.appendingPathComponent("v1/devices/\(name)"))
        request.httpMethod = "POST"
        request.timeoutInterval = 10
        request.httpBody = try? JSONSerialization.data(withJSONObject: body)
        URLSession.shared.dataTask(with: request) { data, _, _ in
            let answer = data.flatMap { try? JSONSerialization.jsonObject(with: $0) }
            done(answer as? [String: Any])
        }.resume()
    }

    // The Keychain, so that app and extension share it. Readable after the first unlock, since
    // pushes come to a locked phone too.
    private static var place: [String: Any] {
        [
            kSecClass as String: kSecClassGenericPassword,
            kSecAttrService as String: "tocsin",
            kSecAttrAccount as String: String(sdkappid),
            kSecAttrAccessGroup as String: accessGroup,
        ]
    }

    static var identity: Identity? {
        get {
            var found: CFTypeRef?
            let query = place.merging([kSecReturnData as String: true]) { $1 }
            guard SecItemCopyMatching(query as CFDictionary, &found) == errSecSuccess,
                  let data = found as? Data
            else { return nil }
            return try? JSONDecoder().decode(Identity.self, from: data)
        }
        set {
            SecItemDelete(place as CFDictionary)
            guard let newValue, let data = try? JSONEncoder().encode(newValue) else { return }
            let item = place.merging([
                kSecValueData as String: data,
                kSecAttrAccessible as String: kSecAttrAccessibleAfterFirstUnlock,
            ]) { $1 }
            SecItemAdd(item as CFDictionary, nil)
        }
    }
}
