<?php
// Picks a caller ID for a call and prints it, or gives one back. Needs nothing but PHP 8.
//
//   ROTARY_ENGINE_URL=https://engine.example.com ROTARY_TOKEN=rot_… php pick.php 3 L-991        group, lead
//   … php pick.php 3 --release 01JD8Q4T1RZ6W8M3V5X7K9N2PB-18                                   the call was not placed
//
// Prints `<pick id> <caller ID's id> <number>`. Exit status: 0 picked or released, 3 nothing is eligible (do not dial),
// 1 error. Publish the call with `pick_id`: publish_call.php.

declare(strict_types=1);

const DEADLINE_SECONDS = 5.0;

/** @return array{int, array<string, string>, array} status, headers (lower case), body */
function send(string $method, string $path, ?array $body = null): array
{
    $headers = ['Authorization: Bearer ' . getenv('ROTARY_TOKEN'), 'Content-Type: application/json'];
    if ($body !== null) {
        // The same key in each attempt: the request may have arrived, and must not pick twice.
        $headers[] = 'Idempotency-Key: ' . bin2hex(random_bytes(16));
    }
    $deadline = microtime(true) + DEADLINE_SECONDS;
    for (;;) {
        $context = stream_context_create(['http' => [
            'method' => $method,
            'header' => $headers,
            'content' => $body === null ? '' : json_encode((object) $body, JSON_THROW_ON_ERROR),
            'ignore_errors' => true,
            'timeout' => 2.0,
        ]]);
        $text = @file_get_contents(rtrim(getenv('ROTARY_ENGINE_URL'), '/') . $path, false, $context);
        $lines = $http_response_header ?? [];
        $status = (int) (explode(' ', $lines[0] ?? '')[1] ?? 0);
        if ($status > 0 && $status < 500 && $status !== 429) {
            $named = [];
            foreach (array_slice($lines, 1) as $line) {
                [$name, $value] = explode(':', $line, 2) + [1 => ''];
                $named[strtolower($name)] = trim($value);
            }
            return [$status, $named, json_decode($text ?: '{}', true) ?? []];
        }
        if (microtime(true) > $deadline) {
            throw new RuntimeException($status ? "the engine answered $status: $text" : 'the engine does not answer');
        }
        usleep(200_000);
    }
}

[, $group, $lead, $pick] = $argv + [1 => '', 2 => '', 3 => ''];
if (!ctype_digit($group)) {
    fwrite(STDERR, "usage: php pick.php GROUP [LEAD]\n       php pick.php GROUP --release PICK\n");
    exit(2);
}
try {
    if ($lead === '--release') {
        send('DELETE', "/api/caller-id-groups/$group/picks/" . rawurlencode($pick));
        exit(0);
    }
    [$status, $headers, $answer] = send('POST', "/api/caller-id-groups/$group/picks", $lead === '' ? [] : ['lead_id' => $lead]);
    if ($status === 201) {
        $picked = $answer['data'];
        echo "{$picked['id']} {$picked['caller_id_id']} {$picked['number']}\n";
        exit(0);
    }
    fwrite(STDERR, $answer['message'] . ' ' . json_encode($answer['reasons'] ?? $answer['errors'] ?? new stdClass()));
    fwrite(STDERR, isset($headers['retry-after']) ? " Retry after {$headers['retry-after']} s.\n" : "\n");
    exit($status === 409 ? 3 : 1);
} catch (Throwable $error) {
    fwrite(STDERR, "no pick: {$error->getMessage()}\n");
    exit(1);
}
