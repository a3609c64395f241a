// The notification service extension: runs where the push has MutableContent 1, also while the app
// is closed. It reports that the push has arrived, and puts its picture beside the text.
//
// Put Tocsin.swift into both targets, and give both the same Keychain access group.

import UserNotifications

final class NotificationService: UNNotificationServiceExtension {
    private var handler: ((UNNotificationContent) -> Void)?
    private var content: UNMutableNotificationContent?

    override func didReceive(
        _ request: UNNotificationRequest,
        withContentHandler contentHandler: @escaping (UNNotificationContent) -> Void
    ) {
        handler = contentHandler
        content = request.content.mutableCopy() as? UNMutableNotificationContent
        let userInfo = request.content.userInfo
        let work = DispatchGroup()

        if let taskID = userInfo["task_id"] as? String {
            work.enter()
            Tocsin.report(taskID: taskID, stage: "reached") { work.leave() }
        }
        if let text = userInfo["image"] as? String, let url = URL(string: text) {
            work.enter()
            attach(url) { work.leave() }
        }
        work.notify(queue: .main) { self.finish() }
    }

    // iOS gives an extension about 30 seconds; then what is there is shown.
    override func serviceExtensionTimeWillExpire() {
        DispatchQueue.main.async { self.finish() }
    }

    private func finish() {
        guard let handler, let content else { return }
        self.handler = nil
        handler(content)
    }

    private func attach(_ url: URL, done: @escaping () -> Void) {
        URLSession.shared.downloadTask(with: url) { file, _, _ in
            defer { done() }
            guard let file else { return }
            let kept = FileManager.default.temporaryDirectory
                .appendingPathComponent(UUID().uuidString + "-" + url.lastPathComponent)
            guard (try? FileManager.default.moveItem(at: file, to: kept)) != nil,
                  let picture = try? UNNotificationAttachment(identifier: "image", url: kept)
            else { return }
            self.content?.attachments = [picture]
        }.resume()
    }
}
