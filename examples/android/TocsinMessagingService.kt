// An Android app behind FCM: registers its token, shows what is sent as data, reports arrival and
// click. Set the credential's `mode` to `data`, or Android draws by itself and tells no arrival.
//
// In AndroidManifest.xml, inside <application>:
//   <service android:name=".TocsinMessagingService" android:exported="false">
//     <intent-filter><action android:name="com.google.firebase.MESSAGING_EVENT" /></intent-filter>
//   </service>

package com.example.app

import android.app.NotificationChannel
import android.app.NotificationManager
import android.app.PendingIntent
import android.content.Context
import android.content.Intent
import androidx.core.app.NotificationCompat
import com.google.firebase.messaging.FirebaseMessagingService
import com.google.firebase.messaging.RemoteMessage
import java.net.HttpURLConnection
import java.net.URL
import java.util.Locale
import org.json.JSONObject

class TocsinMessagingService : FirebaseMessagingService() {
    override fun onNewToken(token: String) {
        Tocsin.register(this, token)
    }

    // Runs on a thread of its own, for about 20 seconds at most.
    override fun onMessageReceived(message: RemoteMessage) {
        val data = message.data
        val id = data["id"] ?: return
        val taskId = data["task_id"] ?: return
        val notifications = getSystemService(NotificationManager::class.java)
        data["replaces"]?.let { notifications.cancel(it, 0) }
        val title = data["title"] ?: message.notification?.title
        val text = data["desc"] ?: message.notification?.body
        if (title != null || text != null) {
            // The id as tag: a copy of what is on the screen replaces it.
            notifications.notify(id, 0, notification(title, text, taskId, data["ext"].orEmpty()))
        }
        Tocsin.report(this, taskId, "reached")
    }

    private fun notification(title: String?, text: String?, taskId: String, ext: String) =
        NotificationCompat.Builder(this, channel())
            .setSmallIcon(applicationInfo.icon)
            .setContentTitle(title)
            .setContentText(text)
            .setOnlyAlertOnce(true)
            .setAutoCancel(true)
            .setContentIntent(
                PendingIntent.getActivity(
                    this,
                    taskId.hashCode(),
                    Intent(this, MainActivity::class.java)
                        .putExtra("task_id", taskId)
                        .putExtra("ext", ext),
                    PendingIntent.FLAG_IMMUTABLE or PendingIntent.FLAG_UPDATE_CURRENT,
                ),
            )
            .build()

    private fun channel(): String {
        val channel = NotificationChannel("push", "Push", NotificationManager.IMPORTANCE_HIGH)
        getSystemService(NotificationManager::class.java).createNotificationChannel(channel)
        return channel.id
    }
}

/**
 * In MainActivity, call this from onCreate and onNewIntent. A notification that Android draws by
 * itself brings the same extras.
 */
fun reportClick(context: Context, intent: Intent) {
    val taskId = intent.getStringExtra("task_id") ?: return
    intent.removeExtra("task_id") // once, however often the activity is made anew
    Thread { Tocsin.report(context, taskId, "clicked") }.start()
    val ext = intent.getStringExtra("ext").orEmpty()
    // `ext` is what your back end gave as Ext: show the page that it names.
}

/** The device's calls over plain HTTP: docs/clients.md. Each blocks: never on the main thread. */
object Tocsin {
    private const val SERVICE = "https://push.example.com"
    private const val SDKAPPID = 1400000001
    private const val APPKEY = "APPKEY"
    private const val CREDENTIAL = 1 // certificate ID: `tocsin credential list`

    @Synchronized
    fun register(context: Context, token: String) {
        val route = JSONObject()
            .put("channel", "fcm").put("credential", CREDENTIAL).put("token", token)
        val facts = JSONObject()
            .put("platform", "Android").put("language", Locale.getDefault().toLanguageTag())
        val body = proof(context).put("appkey", APPKEY).put("route", route).put("facts", facts)
        val answer = call("register", body) ?: return // the next start of the app tries again
        when (answer.getInt("ErrorCode")) {
            0 -> keep(context, answer)
            // The service does not know this device any more: become a new one.
            800101, 800103 -> if (body.has("secret")) {
                kept(context).edit().clear().commit()
                register(context, token)
            }
        }
    }

    fun report(context: Context, taskId: String, stage: String) {
        val body = proof(context)
            .put("task_id", taskId).put("stage", stage).put("channel", "fcm")
        if (body.has("secret")) call("report", body)
    }

    private fun keep(context: Context, answer: JSONObject) {
        val name = answer.getString("registration_id")
        val edit = kept(context).edit().putString("registration_id", name)
        // The secret is told only the first time.
        val secret = answer.getString("secret")
        if (secret.isNotEmpty()) edit.putString("secret", secret)
        edit.commit()
    }

    // Private to the app; leave it out of backups, or two phones would be one device.
    private fun kept(context: Context) =
        context.getSharedPreferences("tocsin", Context.MODE_PRIVATE)

    private fun proof(context: Context): JSONObject {
        val body = JSONObject().put("sdkappid", SDKAPPID)
        for (name in listOf("registration_id", "secret")) {
            kept(context).getString(name, null)?.let { body.put(name, it) }
        }
        return body
    }

    private fun call(name: String, body: JSONObject): JSONObject? = try {
        val connection = URL("$SERVICE/v1/devices/$name").openConnection() as HttpURLConnection
        connection.requestMethod = "POST"
        connection.doOutput = true
        connection.connectTimeout = 5000
        connection.readTimeout = 5000
        connection.outputStream.use { it.write(body.toString().toByteArray()) }
        JSONObject(connection.inputStream.use { it.readBytes().decodeToString() })
    } catch (fault: java.io.IOException) {
        null // may be told again
    }
}
