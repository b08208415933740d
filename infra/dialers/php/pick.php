<?php
// Picks a caller ID for a call, or gives a pick back. Needs PHP 8 and nothing else.
//
//   php pick.php 3 [L-991]                                        group, lead
//   php pick.php release 3 01JD8Q4T1RZ6W8M3V5X7K9N2PB-18          the call was not placed
//
// ROTARY_ENGINE_URL and ROTARY_ENGINE_TOKEN are variables of the environment. Prints the pick as JSON; publish the call
// with its `id` (publish_call.php). Exit status: 0 picked or released; 3 nothing is eligible, do not dial; 1 an error, do
// not dial either; 2 wrong arguments.

declare(strict_types=1);

const DEADLINE_SECONDS = 5.0;
const ATTEMPT_SECONDS = 2.0;

/** Nothing is eligible. `retryAfter` is in seconds, null if no time is known. */
final class NothingEligible extends RuntimeException
{
    public function __construct(string $message, public readonly array $reasons, public readonly ?int $retryAfter)
    {
        parent::__construct($message);
    }
}

final class RotaryEngine
{
    public function __construct(private string $url, private string $token)
    {
        $this->url = rtrim($url, '/');
    }

    /** The pick, as the engine describes it. `$wishes`: lead_id, carrier, prefix, exclude. */
    public function pick(int $group, array $wishes = []): array
    {
        // One key for all attempts: the pick is made once, however often the request arrives.
        $key = ['Idempotency-Key: ' . bin2hex(random_bytes(16))];
        $body = json_encode((object) $wishes, JSON_THROW_ON_ERROR);
        [$status, $answer, $retryAfter] = $this->ask('POST', "/api/caller-id-groups/$group/picks", $body, $key);
        if ($status === 409) {
            throw new NothingEligible($answer['message'], $answer['reasons'] ?? [], $retryAfter);
        }
        return $status === 201 && isset($answer['data']['id']) ? $answer['data'] : $this->fail($status, $answer);
    }

    /** Does nothing if the pick was confirmed or has expired. */
    public function release(int $group, string $pick): void
    {
        $path = "/api/caller-id-groups/$group/picks/" . rawurlencode($pick);
        [$status, $answer] = $this->ask('DELETE', $path);
        if ($status !== 204) {
            $this->fail($status, $answer);
        }
    }

    /** Asks until the answer is final or the deadline is near. Returns the status, the JSON and Retry-After. */
    private function ask(string $method, string $path, string $body = '', array $headers = []): array
    {
        $headers = ["Authorization: Bearer $this->token", 'Content-Type: application/json', ...$headers];
        $deadline = microtime(true) + DEADLINE_SECONDS;
        for ($delay = 0.05; ; $delay *= 2) {
            [$status, $answer, $retryAfter] = $this->once($method, $path, $body, $headers);
            $mayChange = in_array($status, [0, 408, 429], true) || $status >= 500;
            $wait = $delay + ($retryAfter ?? 0);
            if (!$mayChange || microtime(true) + $wait >= $deadline) {
                return [$status, $answer, $retryAfter];
            }
            usleep((int) ($wait * 1_000_000));
        }
    }

    private function once(string $method, string $path, string $body, array $headers): array
    {
        $context = stream_context_create(['http' => [
            'method' => $method,
            'header' => $headers,
            'content' => $body,
            'timeout' => ATTEMPT_SECONDS,
            'ignore_errors' => true,
            'follow_location' => 0,
        ]]);
        $text = @file_get_contents($this->url . $path, false, $context);
        $lines = $http_response_header ?? [];
        $status = $text === false ? 0 : (int) (explode(' ', $lines[0] ?? '')[1] ?? 0);
        $answer = json_decode((string) $text, true);
        $waits = preg_filter('/^Retry-After: *(\d+)$/i', '$1', $lines);
        return [$status, is_array($answer) ? $answer : [], $waits ? (int) reset($waits) : null];
    }

    private function fail(int $status, array $answer): never
    {
        $why = $answer['message'] ?? ($status === 0 ? 'no answer' : "status $status");
        throw new RuntimeException($why . (isset($answer['errors']) ? ' ' . json_encode($answer['errors']) : ''));
    }
}

$isRelease = ($argv[1] ?? '') === 'release';
$arguments = array_slice($argv, $isRelease ? 2 : 1);
if (!preg_match('/^[1-9]\d{0,17}$/', $arguments[0] ?? '') || ($isRelease && !isset($arguments[1]))) {
    fwrite(STDERR, "usage: php pick.php GROUP [LEAD]\n       php pick.php release GROUP PICK\n");
    exit(2);
}
$engine = new RotaryEngine((string) getenv('ROTARY_ENGINE_URL'), (string) getenv('ROTARY_ENGINE_TOKEN'));
$group = (int) $arguments[0];
try {
    if ($isRelease) {
        $engine->release($group, $arguments[1]);
    } else {
        $wishes = ($arguments[1] ?? '') === '' ? [] : ['lead_id' => $arguments[1]];
        echo json_encode($engine->pick($group, $wishes), JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE), "\n";
    }
} catch (NothingEligible $nothing) {
    $when = $nothing->retryAfter === null ? '' : " Try again in $nothing->retryAfter s.";
    fwrite(STDERR, $nothing->getMessage() . $when . "\n");
    exit(3);
} catch (Throwable $error) {
    fwrite(STDERR, "no answer to dial with: {$error->getMessage()}\n");
    exit(1);
}
