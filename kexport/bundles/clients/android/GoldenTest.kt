package dev.kexport.classifier

import android.content.res.AssetManager
import androidx.test.ext.junit.runners.AndroidJUnit4
import androidx.test.platform.app.InstrumentationRegistry
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.abs
import kotlin.math.max
import org.json.JSONObject
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith

/** The golden images through preprocessing and model, on the device. */
@RunWith(AndroidJUnit4::class)
class GoldenTest {
    private val instrumentation = InstrumentationRegistry.getInstrumentation()
    private val assets: AssetManager = instrumentation.context.assets  // of this test

    @Test
    fun goldenOutputs() {
        val golden = JSONObject(String(bytes("golden.json")))
        val tolerance = golden.getJSONObject("tolerance").getDouble("relative_to_largest")
        val count = golden.getJSONObject("images").getJSONArray("shape").getInt(0)
        Classifier(instrumentation.targetContext).use { classifier ->
            val images = rows(bytes("images.bin"), count)
            val inputs = rows(bytes("inputs.bin"), count)
            val outputs = rows(bytes("outputs-0.bin"), count)
            for (row in 0 until count) {
                val prepared = classifier.images.prepared(images[row])
                if (classifier.contract.input.type == "float32") {
                    assertArrayEquals("image $row", floats(inputs[row]), prepared, 1e-5f)
                } else {
                    assertArrayEquals("image $row", inputs[row], classifier.images.steps(prepared))
                }
                val wanted = real(outputs[row], classifier.contract.outputs[0])
                val found = classifier.run(prepared)
                val difference = wanted.indices.maxOf { abs(wanted[it] - found[it]) }
                val largest = max(1e-30f, wanted.maxOf { abs(it) })
                assertTrue("image $row differs by $difference", difference <= tolerance * largest)
                assertEquals("image $row", wanted.indices.maxBy { wanted[it] }, found.indices.maxBy { found[it] })
            }
        }
    }

    private fun bytes(name: String) = assets.open("golden/$name").use { it.readBytes() }

    private fun rows(all: ByteArray, count: Int) =
        List(count) { all.copyOfRange(it * (all.size / count), (it + 1) * (all.size / count)) }

    private fun floats(row: ByteArray): FloatArray {
        val buffer = ByteBuffer.wrap(row).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer()
        return FloatArray(buffer.remaining()).also { buffer.get(it) }
    }

    private fun real(row: ByteArray, output: Tensor): FloatArray = when (output.type) {
        "float32" -> floats(row)
        "uint8" -> FloatArray(row.size) { (((row[it].toInt() and 255) - output.zeroPoint) * output.scale).toFloat() }
        else -> FloatArray(row.size) { ((row[it] - output.zeroPoint) * output.scale).toFloat() }
    }
}
