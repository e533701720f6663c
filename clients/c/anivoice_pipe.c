/* Audio from standard input through a server to standard output:
 *
 *     cc -std=c99 -D_POSIX_C_SOURCE=200112L -o anivoice_pipe anivoice_pipe.c
 *     ./anivoice_pipe 127.0.0.1 8000 '{"model_name": "alice", "mode": "reliable"}' < in.raw > out.raw
 *
 * 16-bit little-endian mono at 48 kHz unless the parameters say otherwise. The promised delay goes to standard error.
 */
#define ANIVOICE_CLIENT_IMPLEMENTATION
#include "anivoice_client.h"

#define MESSAGE_BYTES 1920
#define PATIENCE_MS 60000

/* Everything that has come, waiting for the first of it up to `timeout_ms`. 1; 0 after `flushed`; negative: the end. */
static int take(anivoice_client *client, int timeout_ms) {
    anivoice_message message;
    int got;
    while ((got = anivoice_receive(client, timeout_ms, &message)) > 0) {
        double total_ms;
        if (message.kind == ANIVOICE_AUDIO) {
            fwrite(message.data, 1, message.size, stdout);
        } else if (anivoice_is_event(message.data, "flushed")) {
            return 0;
        } else if (anivoice_is_event(message.data, "ready") && anivoice_number(message.data, "total", &total_ms)) {
            fprintf(stderr, "promised delay: %.0f ms\n", total_ms);
        } else if (!anivoice_is_event(message.data, "stats")) {
            fprintf(stderr, "%s\n", message.data);
        }
        timeout_ms = 0;
    }
    return got == 0 ? 1 : got;
}

/* Sends a frame; while the server takes nothing what comes is taken, for it waits for that. */
static int send_frame(anivoice_client *client, const char *bytes, size_t count) {
    int sent;
    while ((sent = anivoice_send_audio(client, bytes, count)) == ANIVOICE_FULL)
        if (take(client, 100) < 0) return -1;
    return sent < 0 ? sent : take(client, 0);
}

int main(int num_arguments, char **arguments) {
    char why[256], bytes[MESSAGE_BYTES];
    size_t count;
    int state = 1;
    if (num_arguments < 3) {
        fprintf(stderr, "usage: %s HOST PORT [PARAMETERS]\n", arguments[0]);
        return 2;
    }
    anivoice_options options = {arguments[1], atoi(arguments[2]), NULL, num_arguments > 3 ? arguments[3] : NULL, 0};
    anivoice_client *client = anivoice_open(&options, why, sizeof why);
    if (!client) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    anivoice_send_text(client, "{\"events\": true}");
    while (state > 0 && (count = fread(bytes, 1, sizeof bytes, stdin)) > 0) state = send_frame(client, bytes, count);
    if (state > 0) anivoice_send_text(client, "{\"flush\": true}");
    while (state > 0) state = take(client, PATIENCE_MS);
    if (state < 0) fprintf(stderr, "the stream ended with code %d\n", anivoice_close_code(client));
    anivoice_close(client);
    return state < 0;
}
