/* A hostile driver, run as a Linux guest: `swiftlet run --linux --cpus 2 --append seed=SEED,rounds=N`. On every virtio device it
 * sets up queues with loops, overlaps, wrong values and invalid addresses, writes random values to the registers, and changes
 * descriptors while the device processes them, from this CPU and from another one. Then it shuts the system down. It also ends
 * if it has damaged itself. */
#include "../hostile/hostile.h"

#define SERIAL 0x01000000ul
#define VIRTIO 0x02000000ul
#define STEP 0x1000ul
#define MEMORY 0x80000000ul
#define QUEUES 6
#define QUEUE_BYTES 0x3000ul

struct descriptor {
  uint64_t address;
  uint32_t length;
  uint16_t flags;
  uint16_t next;
};

/* Queues, followed by buffers, shared by all devices. Last in memory, because devices write past the end. */
static uint8_t arena[QUEUES * QUEUE_BYTES + 0x10000] __attribute__((aligned(4096), section(".bss.zz")));
static uint64_t devices[32];
static uint64_t count_of_devices;
static volatile int is_over;

/* Hidden: or its address would come from a table. */
extern const char processor_entry[] __attribute__((visibility("hidden")));

static uint32_t load(uint64_t address) { return *(volatile uint32_t *)address; }
static void store(uint64_t address, uint64_t value) { *(volatile uint32_t *)address = (uint32_t)value; }
static void fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

static void put(char byte) { *(volatile uint8_t *)SERIAL = (uint8_t)byte; }

static void put_text(const char *text) {
  while (*text != 0) {
    put(*text++);
  }
}

static void put_number(uint64_t number) {
  if (number >= 10) {
    put_number(number / 10);
  }
  put((char)('0' + number % 10));
}

/* The number after a word of the command line, which is somewhere in the device tree. */
static uint64_t option(const uint8_t *tree, const char *word, uint64_t otherwise) {
  uint64_t size = tree == NULL ? 0 : (uint64_t)tree[4] << 24 | (uint64_t)tree[5] << 16 | (uint64_t)tree[6] << 8 | tree[7];
  for (uint64_t at = 0; at + 32 < size; at++) {
    uint64_t length = 0;
    while (word[length] != 0 && tree[at + length] == (uint8_t)word[length]) {
      length++;
    }
    if (word[length] != 0) {
      continue;
    }
    uint64_t number = 0;
    for (const uint8_t *digit = tree + at + length; *digit >= '0' && *digit <= '9'; digit++) {
      number = number * 10 + *digit - '0';
    }
    return number;
  }
  return otherwise;
}

/* An address for a device: mostly in the buffers, sometimes in the queues, rarely a random one. */
static uint64_t place(uint64_t *state) {
  switch (next(state) % 16) {
    case 0: return odd(state);
    case 1: return (uint64_t)arena + next(state) % (QUEUES * QUEUE_BYTES);
    case 2: return MEMORY + (64 << 20) - next(state) % 4096;
    default: return (uint64_t)arena + QUEUES * QUEUE_BYTES + next(state) % 0xf000;
  }
}

static uint64_t length(uint64_t *state, uint64_t device) {
  switch (next(state) % 8) {
    case 0: return 0;
        /* A console prints its buffer. */
    case 1: return load(device + 8) == 3 ? next(state) % 4096 : odd(state);
    case 2: return 512 * (next(state) % 8);
    default: return next(state) % 64;
  }
}

static uint8_t *queue(uint64_t number) { return arena + number * QUEUE_BYTES; }

static void describe(uint64_t *state, uint64_t device, uint64_t number) {
  volatile struct descriptor *entry = (volatile struct descriptor *)queue(number) + next(state) % 16;
  entry->address = place(state);
  entry->length = (uint32_t)length(state, device);
      /* Mostly not indirect, which none of the devices supports. */
  entry->flags = next(state) % 16 == 0 ? (uint16_t)next(state) : next(state) & 3;
  entry->next = next(state) % 16 == 0 ? (uint16_t)next(state) : next(state) % 16;
}

static void offer(uint64_t *state, uint64_t number) {
  volatile uint16_t *ring = (volatile uint16_t *)(queue(number) + 0x1000);
  uint16_t index = ring[1], more = next(state) % 32 == 0 ? (uint16_t)next(state) : 1 + next(state) % 4;
  for (uint16_t i = 0; i < more && i < 16; i++) {
    ring[2 + ((index + i) & 15)] = next(state) % 32 == 0 ? (uint16_t)next(state) : next(state) % 16;
  }
  fence();
  ring[1] = index + more;
  fence();
}

static void set_address(uint64_t *state, uint64_t place_of, uint64_t good) {
  uint64_t address = next(state) % 64 == 0 ? odd(state) : good;
  store(place_of, address);
  store(place_of + 4, address >> 32);
}

/* Initializes a device as a correct driver does, with occasional wrong values. */
static void start(uint64_t *state, uint64_t device) {
  store(device + 0x70, 0);
  store(device + 0x70, 1);
  store(device + 0x70, 3);
  for (uint32_t half = 0; half < 2; half++) {
    store(device + 0x24, half);
    store(device + 0x20, next(state) % 16 == 0 ? odd(state) : half == 1 ? 1 : load(device + 8) == 3 ? 2 : 0);
  }
  store(device + 0x70, 11);
  for (uint64_t number = 0; number < QUEUES; number++) {
    store(device + 0x30, number);
    store(device + 0x38, next(state) % 32 == 0 ? odd(state) : 16);
    set_address(state, device + 0x80, (uint64_t)queue(number));
    set_address(state, device + 0x90, (uint64_t)queue(number) + 0x1000);
    set_address(state, device + 0xa0, (uint64_t)queue(number) + 0x2000);
    ((volatile uint16_t *)(queue(number) + 0x1000))[1] = 0;
    store(device + 0x44, 1);
  }
  store(device + 0x70, 15);
}

/* A valid disk request, which is changed while the device processes it. */
static void work(uint64_t *state, uint64_t device) {
  static const uint32_t types[] = {0, 1, 4, 8, 11};
  volatile struct descriptor *table = (volatile struct descriptor *)queue(0);
  volatile uint32_t *header = (volatile uint32_t *)(arena + QUEUES * QUEUE_BYTES);
  header[0] = types[next(state) % 5];
  header[1] = 0;
  header[2] = next(state) % 8 == 0 ? (uint32_t)odd(state) : next(state) % 64;
  header[3] = next(state) % 32 == 0 ? (uint32_t)odd(state) : 0;
  for (uint16_t i = 0; i < 6; i++) {
    table[i].address = i == 0 ? (uint64_t)header : i < 5 ? (uint64_t)arena + QUEUES * QUEUE_BYTES + 0x1000 * i : place(state);
    table[i].length = i == 0 ? 16 : i < 5 ? 512 * (1 + next(state) % 8) : 1;
    table[i].flags = (i < 5 ? 1 : 0) | (i == 5 || (i > 0 && header[0] == 0) ? 2 : 0);
    table[i].next = i + 1;
  }
  volatile uint16_t *ring = (volatile uint16_t *)(queue(0) + 0x1000);
  ring[2 + (ring[1] & 15)] = 0;
  fence();
  ring[1]++;
  fence();
  store(device + 0x50, 0);
  for (uint64_t i = next(state) % 16; i > 0; i--) {
    describe(state, device, 0);
  }
}

static void attack(uint64_t *state) {
  uint64_t device = devices[next(state) % count_of_devices], number = next(state) % QUEUES;
  switch (next(state) % 16) {
    case 0: start(state, device); break;
    case 1:
    case 2:
    case 6:
    case 7:
      for (uint64_t i = next(state) % 16; i > 0; i--) {
        describe(state, device, number);
      }
      offer(state, number);
      store(device + 0x50, number);
      describe(state, device, number);
      break;
    case 3: store(device + next(state) % 0x80 * 4, odd(state)); break;
    case 4: load(device + next(state) % 0x80 * 4); break;
    case 5: load(device + 0x60); store(device + 0x64, 3); break;
    default: work(state, device); break;
  }
}

/* The other CPU changes everything that a device may read, and its registers. */
static void disturb(uint64_t *state) {
  uint64_t number = next(state) % QUEUES, device = devices[next(state) % count_of_devices];
  for (uint64_t i = next(state) % 256; i > 0; i--) {
    *(volatile uint16_t *)(queue(number) + next(state) % 0x20 * 2 + next(state) % 3 * 0x1000) = (uint16_t)next(state) % 64;
    describe(state, device, number);
  }
  if (next(state) % 4 == 0) {
    store(device + 0x50, number);
  }
}

static int64_t firmware(uint64_t function, uint64_t a, uint64_t b, uint64_t c) {
#if defined(__aarch64__)
  register uint64_t x0 __asm__("x0") = function;
  register uint64_t x1 __asm__("x1") = a;
  register uint64_t x2 __asm__("x2") = b;
  register uint64_t x3 __asm__("x3") = c;
  __asm__ volatile("hvc #0" : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3) : : "memory");
  return (int64_t)x0;
#elif defined(__riscv)
  register uint64_t a0 __asm__("a0") = a;
  register uint64_t a1 __asm__("a1") = b;
  register uint64_t a2 __asm__("a2") = c;
  register uint64_t a6 __asm__("a6") = 0;
  register uint64_t a7 __asm__("a7") = function;
  __asm__ volatile("ecall" : "+r"(a0), "+r"(a1) : "r"(a2), "r"(a6), "r"(a7) : "memory");
  return (int64_t)a0;
#endif
}

int main(const uint8_t *tree, uint64_t processor) {
  if (processor == 1) {
    static uint64_t other = 0x2545f4914f6cdd1d;
    while (!is_over) {
      disturb(&other);
    }
    for (;;) {
    }
  }
  uint64_t state = option(tree, "seed=", 1) * 0x9e3779b97f4a7c15ull + 1, rounds = option(tree, "rounds=", 1000);
  for (uint64_t i = 0; i < sizeof devices / sizeof devices[0]; i++) {
    if (load(VIRTIO + i * STEP) == 0x74726976) {
      devices[count_of_devices++] = VIRTIO + i * STEP;
    }
  }
  if (count_of_devices == 0) {
    put_text("no devices\n");
    return 1;
  }
  for (uint64_t i = 0; i < count_of_devices; i++) {
    start(&state, devices[i]);
  }
#if defined(__aarch64__)
  firmware(0xc4000003, 1, (uint64_t)processor_entry, 1); /* PSCI CPU_ON */
#elif defined(__riscv)
  firmware(0x48534d, 1, (uint64_t)processor_entry, 1); /* SBI HSM hart_start: a0 is the hart's number there */
#endif
  for (uint64_t i = 0; i < rounds; i++) {
    attack(&state);
  }
  is_over = 1;
  put_text("\ncalls: ");
  put_number(rounds);
  put('\n');
  return 0;
}
