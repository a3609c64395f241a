// The app's part: ask for permission, register the device, report a click.

import UIKit
import UserNotifications

@main
final class AppDelegate: UIResponder, UIApplicationDelegate, UNUserNotificationCenterDelegate {
    func application(
        _ application: UIApplication,
        didFinishLaunchingWithOptions options: [UIApplication.LaunchOptionsKey: Any]?
    ) -> Bool {
        // Before this method ends, or the click that started the app is not told.
        UNUserNotificationCenter.current().delegate = self
        UNUserNotificationCenter.current().requestAuthorization(options: [.alert, .badge, .sound]) {
            _, _ in
            DispatchQueue.main.async { application.registerForRemoteNotifications() }
        }
        return true
    }

    func application(
        _ application: UIApplication,
        didRegisterForRemoteNotificationsWithDeviceToken deviceToken: Data
    ) {
        Tocsin.register(token: deviceToken)
    }

    func userNotificationCenter(
        _ center: UNUserNotificationCenter,
        didReceive response: UNNotificationResponse,
        withCompletionHandler completionHandler: @escaping () -> Void
    ) {
        let userInfo = response.notification.request.content.userInfo
        if let taskID = userInfo["task_id"] as? String,
           response.actionIdentifier == UNNotificationDefaultActionIdentifier {
            open(userInfo["ext"] as? String ?? "")
            Tocsin.report(taskID: taskID, stage: "clicked") {
                DispatchQueue.main.async(execute: completionHandler)
            }
        } else {
            completionHandler()
        }
    }

    // While the app is in front. A copy, and the text that overwrites a recalled push, have the
    // same collapse id: Apple replaces what is on the screen.
    func userNotificationCenter(
        _ center: UNUserNotificationCenter,
        willPresent notification: UNNotification,
        withCompletionHandler completionHandler:
            @escaping (UNNotificationPresentationOptions) -> Void
    ) {
        completionHandler([.banner, .sound, .badge])
    }

    private func open(_ ext: String) {
        // `ext` is what your back end gave as Ext: show the page that it names.
    }
}
